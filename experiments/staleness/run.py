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
# At lag 0 the correction changes no bit. Lags 0 and 4 are compared on five seeds.
_CONDITIONS = [(0, True, 5), (4, True, 5), (4, False, 5), (16, True, 3), (16, False, 3)]
_CONDITIONS += [(1, True, 3), (1, False, 3)]


def main(_: list[str]) -> None:
    jobs = []
    for lag, corrected, num_seeds in _CONDITIONS:
        for seed in range(num_seeds):
            for task in _TASKS.value:
                settings = {"env": task, "seed": seed, "total_steps": _STEPS.value}
                settings |= {f"correct_{part}": corrected for part in _PARTS}
                key = {"env": task, "lag": lag, "corrected": corrected, "seed": seed}
                jobs.append(Job(key, {"settings": settings, "lag": lag}))
    run_all(jobs, Path(__file__).parent, _AT_ONCE.value)


if __name__ == "__main__":
    app.run(main)
