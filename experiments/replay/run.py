"""Reusing rollouts: updates on the last M rollouts against updates on one, 250k steps.

python -m experiments.replay.run
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import app, flags

from experiments.campaign.analysis import load, relative, spread
from experiments.campaign.grid import Job, run_all

_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_TASKS = flags.DEFINE_list("tasks", ["Walker2d", "Hopper"], "Environments.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of each, from 0.")
_STEPS = flags.DEFINE_integer("total_steps", 250_000, "Environment steps of each run.")
_HERE = Path(__file__).parent
# What is compared: M, the weights by age, the KL budget of an update (none: max_kl of the preset).
_SETTINGS: dict[str, dict[str, Any]] = {
    "M=1": {},
    "M=3": {"replay_rollouts": 3},
    "M=3, twice the budget": {"replay_rollouts": 3, "replay_max_kl": 0.02},
    "M=3, newest weighs most": {"replay_rollouts": 3, "replay_weights": [1.0, 0.5, 0.25]},
}


def main(_: list[str]) -> None:
    jobs = []
    for seed in range(_SEEDS.value):
        for name, replay in _SETTINGS.items():
            for task in _TASKS.value:
                settings = {"env": task, "seed": seed, "total_steps": _STEPS.value, **replay}
                key = {"env": task, "setting": name, "seed": seed}
                jobs.append(Job(key, {"settings": settings}))
    run_all(jobs, _HERE, _AT_ONCE.value)
    for column in ("train_return", "eval_mean"):
        baseline = load(_HERE / "results.csv", column, setting="M=1")
        for name in _SETTINGS:
            returns = load(_HERE / "results.csv", column, setting=name)
            tasks = ", ".join(f"{env} {spread(of)}" for env, of in returns.items())
            print(f"{column} {name:24s} {tasks}  ratio {relative(returns, baseline)}")


if __name__ == "__main__":
    app.run(main)
