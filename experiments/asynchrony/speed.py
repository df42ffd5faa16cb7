"""How close training comes to the rate at which environments can be stepped at all.

    python -m experiments.asynchrony.speed --run=runs/walker

Alternates, each in a process of its own: raw stepping (one thread of SyncVectorEnv with recorded
actions of a trained policy), and training from that policy with the synchronous and the
asynchronous sampler, in SyncVectorEnv and in EnvPool. `speed.csv` has a row a measurement.
`--run` is the run directory of the trained policy; it is made if it does not exist.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments.campaign.revision import code_revision
from experiments.speed.trained_run import make_run

_RUN = flags.DEFINE_string("run", "runs/asynchrony", "Run directory of a trained policy.")
_ENV = flags.DEFINE_string("env", "Walker2d", "Environment.")
_ALTERNATIONS = flags.DEFINE_integer("alternations", 5, "How often each side runs.")
_UPDATES = flags.DEFINE_integer("updates", 20, "Updates that are timed.")
_HERE = Path(__file__).parent
_GYMNASIUM = {"vectorization": "sync"}
_POOL = {"vectorization": "envpool"}
_SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("raw", _GYMNASIUM),
    "sync": ("train", {"sampler": "sync", **_GYMNASIUM}),
    "async": ("train", {"sampler": "async", **_GYMNASIUM}),
    "envpool sync": ("train", {"sampler": "sync", **_POOL}),
    "envpool async": ("train", {"sampler": "async", **_POOL}),
}


def main(_: list[str]) -> None:
    make_run(_RUN.value, _ENV.value)
    rows, revision = [], code_revision()
    for alternation in range(_ALTERNATIONS.value):
        for side, (kind, settings) in _SIDES.items():
            measured = _measure(kind, settings)
            row = {"alternation": alternation, "side": side, **measured, "revision": revision}
            rows.append(row)
            print(row, flush=True)
    with (_HERE / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for side, other in (("async", "raw"), ("sync", "raw"), ("async", "sync")):
        print(f"{side} / {other}: {ratios(rows, side, other)}")
    for side in ("envpool sync", "envpool async"):
        print(f"{side} / sync: {ratios(rows, side, 'sync')}")
    print(f"envpool async / envpool sync: {ratios(rows, 'envpool async', 'envpool sync')}")


def ratios(rows: list[dict[str, Any]], side: str, other: str) -> str:
    """Median and range of the ratios of each alternation."""
    speeds = {(row["alternation"], row["side"]): row["steps_per_second"] for row in rows}
    found = [
        speeds[number, side] / speeds[number, other]
        for number in sorted({row["alternation"] for row in rows})
    ]
    return f"median {statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def _measure(kind: str, settings: dict[str, Any]) -> dict[str, float]:
    arguments = {
        "kind": kind,
        "run": _RUN.value,
        "updates": _UPDATES.value,
        "settings": {"env": _ENV.value, **settings},
    }
    command = [sys.executable, "-m", "experiments.asynchrony.one_side", json.dumps(arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(printed.splitlines()[-1])
    return {
        "steps_per_second": round(result["steps"] / result["seconds"], 1),
        "processors_used": round(result["processor_seconds"] / result["seconds"], 3),
    }


if __name__ == "__main__":
    app.run(main)
