"""Forced lags with and without the correction, on Walker2d and Hopper.

python -m experiments.staleness.run
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, run_all

_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_TASKS = flags.DEFINE_list("tasks", ["Walker2d", "Hopper"], "Environments.")
_STEPS = flags.DEFINE_integer("total_steps", 500_000, "Environment steps of each run.")
_PARTS = ("traces", "weights", "centring", "trust_region")
_CORRECTIONS = {"full": _PARTS, "none": (), "without_trust_region": _PARTS[:3]}
# At lag 0 the correction changes no bit, so one condition stands for both.
_SEEDS = 10
_CONDITIONS = [
    (0, "full", _SEEDS),
    (4, "full", _SEEDS),
    (4, "none", _SEEDS),
    (16, "full", 3),
    (16, "none", 3),
    (1, "full", 3),
    (1, "none", 3),
    (4, "without_trust_region", 3),
]


def main(_: list[str]) -> None:
    jobs = [
        _job(task, lag, correction, seed)
        for seed in range(_SEEDS)
        for lag, correction, num_seeds in _CONDITIONS
        for task in _TASKS.value
        if seed < num_seeds
    ]
    run_all(jobs, Path(__file__).parent, _AT_ONCE.value)


def _job(task: str, lag: int, correction: str, seed: int) -> Job:
    settings = {"env": task, "seed": seed, "total_steps": _STEPS.value}
    settings |= {f"correct_{part}": part in _CORRECTIONS[correction] for part in _PARTS}
    key = {"env": task, "lag": lag, "correction": correction, "seed": seed}
    return Job(key, {"settings": settings, "lag": lag})


if __name__ == "__main__":
    app.run(main)
