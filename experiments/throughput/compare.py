"""Steps a second of whole training, trpo_tf against sb3-contrib's TRPO, alternating in one run.

Same environments, rows an update, network, conjugate gradient iterations and gradient steps of the
critic; both normalise observations and rewards. The peers live in a virtual environment of their
own, made at the first run (`--peers`).

    python experiments/throughput/compare.py --alternations=5
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from absl import app, flags

_ALTERNATIONS = flags.DEFINE_integer("alternations", 5, "How often each side runs.")
_PEERS = flags.DEFINE_string("peers", "runs/peers", "Virtual environment of the peers.")
_PACKAGES = ["torch==2.13.0", "sb3-contrib==2.9.*", "gymnasium[mujoco]==1.4.*"]
_HERE = Path(__file__).parent
_SETTINGS = {
    "num_envs": 8,
    "num_steps": 256,
    "cg_steps": 10,
    "critic_epochs": 20,
    "critic_minibatch": 64,
    "warm_up_updates": 2,
    "updates": 8,
}


def main(_: list[str]) -> None:
    peers = _peers_python()
    sides = {"trpo_tf": (sys.executable, "ours.py"), "sb3-contrib": (peers, "peer_sb3.py")}
    rows = []
    for alternation in range(_ALTERNATIONS.value):
        for side, (python, script) in sides.items():
            row = {"alternation": alternation, "side": side} | _measure(python, script)
            rows.append(row)
            print(row, flush=True)
    with (_HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(summary(rows))


def _measure(python: str, script: str) -> dict[str, float]:
    command = [python, str(_HERE / script), json.dumps(_SETTINGS)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = json.loads(printed.splitlines()[-1])
    total = seconds["collecting"] + seconds["learning"]
    return {
        "steps_per_second": round(seconds["steps"] / total, 1),
        "collecting_share": round(seconds["collecting"] / total, 3),
        "learning_share": round(seconds["learning"] / total, 3),
        "peak_mib": round(seconds["peak_mib"], 1),
    }


def summary(rows: list[dict[str, float]]) -> str:
    """The ratio of each alternation, their median and range."""
    pairs = zip(rows[::2], rows[1::2], strict=True)
    ratios = [ours["steps_per_second"] / theirs["steps_per_second"] for ours, theirs in pairs]
    median = statistics.median(ratios)
    return f"trpo_tf / sb3-contrib: median {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _peers_python() -> str:
    directory = Path(_PEERS.value)
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    return str(python)


if __name__ == "__main__":
    app.run(main)
