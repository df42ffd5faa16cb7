"""Trains with one thing changed at a time, on Walker2d, Hopper and HalfCheetah.

    python -m experiments.ablations.run

Interrupted, it goes on with the runs that `results.csv` does not hold.
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.ablations.conditions import CONDITIONS
from experiments.campaign.grid import Job, run_all

_TASKS = flags.DEFINE_list("tasks", ["Walker2d", "Hopper", "HalfCheetah"], "Environments.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each.")
_CONDITIONS = flags.DEFINE_list("conditions", list(CONDITIONS), "What is compared.")
_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_STEPS = flags.DEFINE_integer("total_steps", 500_000, "Environment steps of each run.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")


def main(_: list[str]) -> None:
    jobs = [
        _job(task, condition, int(seed))
        for seed in _SEEDS.value
        for condition in _CONDITIONS.value
        for task in _TASKS.value
    ]
    run_all(jobs, Path(_DIRECTORY.value), _AT_ONCE.value)


def _job(task: str, condition: str, seed: int) -> Job:
    settings = {"env": task, "seed": seed, "total_steps": _STEPS.value, **CONDITIONS[condition]}
    return Job({"env": task, "condition": condition, "seed": seed}, {"settings": settings})


if __name__ == "__main__":
    app.run(main)
