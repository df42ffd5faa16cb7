"""Steps a second at 1 to 16 Ray workers whose environment waits 20 ms a step.

    python -m experiments.workers.scale

Writes `scale.csv` and `scale.png`.
"""

from __future__ import annotations

import csv
import functools
import os
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib as mpl
import numpy as np
from absl import app, flags

mpl.use("Agg")
from matplotlib import pyplot as plt

import trpo_tf
from experiments.workers.waiting_env import make_waiting_envs
from trpo_tf import Execution

_WORKERS = flags.DEFINE_list("workers", ["1", "2", "4", "8", "16"], "Numbers of workers.")
_ROLLOUTS = flags.DEFINE_integer("rollouts", 12, "Rollouts that are timed.")
_STEPS = flags.DEFINE_integer("num_steps", 100, "Steps of a worker's rollout.")
_STEP_SECONDS = 0.02
_HERE = Path(__file__).parent


def make_policy() -> Any:
    """Of the size that Walker2d has."""
    return trpo_tf.make_policy(
        gym.spaces.Box(-1, 1, (17,), np.float32), gym.spaces.Box(-1, 1, (6,), np.float32)
    )


def measure(num_workers: int) -> dict[str, float]:
    """Real steps a second of `collect` alone, and the same of one environment that only waits."""
    recipe = trpo_tf.Recipe(
        functools.partial(make_waiting_envs, step_seconds=_STEP_SECONDS),
        make_policy,
        num_envs=1,
        num_steps=_STEPS.value,
        execution=Execution.GRAPH,
    )
    sampler = trpo_tf.RaySampler(make_policy(), recipe, num_workers, worker_cpus=0.1, timeout=300)
    # Until all workers have started and compiled.
    columns: set[int] = set()
    while len(columns) < num_workers:
        rollout, _ = sampler.collect()
        columns |= {column for column in range(num_workers) if rollout.mask[:, column].any()}
    for _ in range(4):
        sampler.collect()
    before, start = sampler.env_steps, time.perf_counter()
    for _ in range(_ROLLOUTS.value):
        sampler.collect()
    seconds = time.perf_counter() - start
    steps = sampler.env_steps - before
    sampler.close()
    return {"workers": num_workers, "steps_per_second": steps / seconds}


def main(_: list[str]) -> None:
    os.environ["PYTHONPATH"] = str(_HERE.parents[1])
    rows = []
    for num_workers in map(int, _WORKERS.value):
        rows.append(measure(num_workers))
        rows[-1]["of_linear"] = rows[-1]["steps_per_second"] / (
            num_workers * rows[0]["steps_per_second"] / rows[0]["workers"]
        )
        print(rows[-1], flush=True)
    with (_HERE / "scale.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([{name: round(value, 4) for name, value in row.items()} for row in rows])
    draw(rows)


def draw(rows: list[dict[str, float]]) -> None:
    """Steps a second by workers, and the straight line."""
    workers = [row["workers"] for row in rows]
    first = rows[0]["steps_per_second"] / workers[0]
    figure, axes = plt.subplots(figsize=(5, 3.6), dpi=110)
    axes.plot(workers, [first * count for count in workers], "--", color="#8a949e", label="linear")
    speeds = [row["steps_per_second"] for row in rows]
    axes.plot(workers, speeds, "-o", color="#1f6fb4", label="Ray workers")
    axes.set_xlabel("workers, each step waits 20 ms")
    axes.set_ylabel("environment steps a second")
    axes.grid(True, color="#dde2e7")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(_HERE / "scale.png")


if __name__ == "__main__":
    app.run(main)
