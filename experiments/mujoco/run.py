"""Trains the MuJoCo tasks by the command line on several seeds, and evaluates what it exports.

    python -m experiments.mujoco.run --tasks=Walker2d,Hopper --seeds=0,1,2,3,4 --at_once=2

Interrupted, it goes on where it stopped: finished runs are in `results.csv`, and a run that was
under way continues from its last checkpoint. The run directories, with the exported policies, stay.
"""

from __future__ import annotations

import re
from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, Tables, run_jobs
from experiments.mujoco import protocol, training

_TASKS = flags.DEFINE_list("tasks", list(protocol.TASKS), "Environments.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds of each.")
_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_STEPS = flags.DEFINE_integer("total_steps", protocol.TOTAL_STEPS, "Environment steps of each run.")
_EVERY = flags.DEFINE_integer("eval_every", protocol.EVAL_EVERY, "Steps between evaluations.")
_SET = flags.DEFINE_string(
    "set", "", "Settings other than the preset's: name=value,name=value. Results name them."
)
_RUNS = flags.DEFINE_string("runs", "runs/mujoco", "Where run directories are left.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")


def main(_: list[str]) -> None:
    jobs = [
        Job({"task": task, "seed": int(seed), "settings": _SET.value}, {})
        for seed in _SEEDS.value
        for task in _TASKS.value
    ]
    run_jobs(jobs, _run, Path(_DIRECTORY.value), "results.csv", _AT_ONCE.value)


def _run(job: Job) -> Tables:
    task, seed, text = job.key.values()
    # A value may be a list: only a comma before name= ends it.
    settings = re.split(r",(?=\w+=)", text) if text else []
    directory = training.run_directory(Path(_RUNS.value), task, seed, settings)
    protocol_settings = [
        f"total_steps={_STEPS.value}",
        f"eval_every={_EVERY.value}",
        f"eval_episodes={protocol.EVAL_EPISODES}",
    ]
    training.train(directory, training.training_flags(task, seed, [*protocol_settings, *settings]))
    measured = training.measure(directory)
    return {
        "evaluations.csv": protocol.evaluation_rows(measured),
        "results.csv": [protocol.result_row(measured)],
    }


if __name__ == "__main__":
    app.run(main)
