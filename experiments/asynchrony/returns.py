"""Whether collecting beside the learner costs return: async against sync, 1M steps a run.

python -m experiments.asynchrony.returns
python -m experiments.asynchrony.report
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, run_all

_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_TASKS = flags.DEFINE_list("tasks", ["Walker2d", "Hopper", "HalfCheetah"], "Environments.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds of each, from 0.")
_STEPS = flags.DEFINE_integer("total_steps", 1_000_000, "Environment steps of each run.")


def main(_: list[str]) -> None:
    jobs = []
    for seed in range(_SEEDS.value):
        for task in _TASKS.value:
            for sampler in ("async", "sync"):
                key = {"env": task, "sampler": sampler, "seed": seed}
                jobs.append(Job(key, {"settings": {**key, "total_steps": _STEPS.value}}))
    run_all(jobs, Path(__file__).parent, _AT_ONCE.value)


if __name__ == "__main__":
    app.run(main)
