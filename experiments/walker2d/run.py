"""Trains Walker2d with its preset on several seeds and evaluates the exported policies.

Each run is the README's own command; interrupted, the script goes on where it stopped.

    python experiments/walker2d/run.py --seeds=0,1,2
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from absl import app, flags

from trpo_tf import provenance

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds to train, one after the other.")
_ENV = flags.DEFINE_string("env", "Walker2d", "Environment.")
_EPISODES = flags.DEFINE_integer("episodes", 20, "Episodes of the final evaluation.")
_RUNS = flags.DEFINE_string("runs", "runs/walker2d", "Where run directories and models are left.")
_SETTINGS = flags.DEFINE_multi_string(
    "settings", [], "Further flags of the training command, a=b each."
)
_RESULTS = flags.DEFINE_string(
    "results", str(Path(__file__).with_name("results.csv")), "CSV file, one row a seed."
)
_COLUMNS = ["env", "seed", "settings", "env_steps", "train_return", "eval_mean", "eval_std"]
_COLUMNS += ["peak_mib", "revision", "versions"]


def main(_: list[str]) -> None:
    results = Path(_RESULTS.value)
    for seed in _SEEDS.value:
        name = "-".join([_ENV.value, seed, *_SETTINGS.value]).replace("/", "_")
        if (_ENV.value, seed, " ".join(_SETTINGS.value)) in _finished(results):
            print(f"{name}: already in {results}")
            continue
        run, models = Path(_RUNS.value) / name, Path(_RUNS.value) / f"{name}-models"
        _train(seed, run, models)
        row = {"env": _ENV.value, "seed": seed, "settings": " ".join(_SETTINGS.value)}
        row |= _training_result(run) | _evaluate(models)
        _append(results, row)
        print(row, flush=True)


def _train(seed: str, run: Path, models: Path) -> None:
    if models.is_dir() and any(path.name.isdigit() for path in models.iterdir()):
        return
    resume = ["--resume"] if run.is_dir() else []
    command = [sys.executable, "-m", "trpo_tf.train", f"--env={_ENV.value}", f"--seed={seed}"]
    command += [f"--logdir={run}", f"--export_dir={models}", *resume]
    process = subprocess.Popen(command + [f"--{setting}" for setting in _SETTINGS.value])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"training with seed {seed} ended with status {status}")
    (run / "peak_mib").write_text(f"{usage.ru_maxrss / 1024:.0f}")


def _training_result(run: Path) -> dict[str, str]:
    with (run / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "env_steps": rows[-1]["env_steps"],
        "train_return": f"{float(rows[-1]['episode_return_mean']):.1f}",
        "peak_mib": (run / "peak_mib").read_text(),
        "revision": provenance.git_revision(Path(__file__).parents[2]) or "",
        "versions": _versions(),
    }


def _versions() -> str:
    packages = ("tensorflow", "keras", "tensorflow-probability", "gymnasium", "mujoco")
    return " ".join(f"{name}={metadata.version(name)}" for name in packages)


def _evaluate(models: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "trpo_tf.evaluate", f"--saved_model={models}"]
    command += [f"--env={_ENV.value}", f"--episodes={_EPISODES.value}", "--seed=1000"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    mean = re.search(r"mean\s*(-?[\d.]+)", printed)
    deviation = re.search(r"(?:standard deviation|std)\s*([\d.]+)", printed)
    if mean is None or deviation is None:
        raise ValueError(f"no mean and deviation in what evaluate printed: {json.dumps(printed)}")
    return {"eval_mean": mean.group(1), "eval_std": deviation.group(1)}


def _finished(results: Path) -> set[tuple[str, str, str]]:
    if not results.exists():
        return set()
    with results.open(newline="") as file:
        return {(row["env"], row["seed"], row["settings"]) for row in csv.DictReader(file)}


def _append(results: Path, row: dict[str, str]) -> None:
    is_new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    app.run(main)
