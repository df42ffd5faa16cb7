"""Trains classic control and Box2D with their presets at the zoo's budgets.

    python -m experiments.classic.run

Interrupted, it goes on with the runs that `results.csv` does not hold.
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, run_all
from experiments.classic.zoo import ZOO

_TASKS = flags.DEFINE_list("tasks", list(ZOO), "Environments, of those that the zoo has.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each.")
_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_STEPS = flags.DEFINE_integer("total_steps", None, "Environment steps of each run, if not as many.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")


def main(_: list[str]) -> None:
    jobs = [_job(task, int(seed)) for seed in _SEEDS.value for task in _TASKS.value]
    run_all(jobs, Path(_DIRECTORY.value), _AT_ONCE.value)


def _job(task: str, seed: int) -> Job:
    key = {"env": task, "seed": seed}
    steps = _STEPS.value or ZOO[task].total_steps
    return Job(key, {"settings": {**key, "total_steps": steps}})


if __name__ == "__main__":
    app.run(main)
