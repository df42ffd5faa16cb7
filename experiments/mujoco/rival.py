"""Puts sb3-contrib's TRPO with the zoo's settings through the protocol, on the same tasks.

    python -m experiments.mujoco.rival --seeds=0,1,2 --at_once=2

The peers live in a virtual environment of their own, made at the first run (`--peers`).
Interrupted, it goes on with the runs that `rival_results.csv` does not hold.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, Tables, run_jobs
from experiments.campaign.peers import peers_python
from experiments.campaign.process import run_process
from experiments.mujoco import protocol

_TASKS = flags.DEFINE_list("tasks", list(protocol.TASKS[:5]), "Environments.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each.")
_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Runs side by side.")
_STEPS = flags.DEFINE_integer("total_steps", protocol.TOTAL_STEPS, "Environment steps of each run.")
_EVERY = flags.DEFINE_integer("eval_every", protocol.EVAL_EVERY, "Steps between evaluations.")
_PEERS = flags.DEFINE_string("peers", "runs/peers", "Virtual environment of the peers.")
_RUNS = flags.DEFINE_string("runs", "runs/rival", "Where its logs are left.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")


def main(_: list[str]) -> None:
    python = peers_python(_PEERS.value)

    def run(job: Job) -> Tables:
        arguments = json.dumps(job.arguments)
        printed = run_process([python, "-m", "experiments.mujoco.zoo_run", arguments])
        measured = protocol.Measured(**json.loads(printed.splitlines()[-1]))
        return {
            "rival_evaluations.csv": protocol.evaluation_rows(measured),
            "rival_results.csv": [protocol.result_row(measured)],
        }

    jobs = [_job(task, int(seed)) for seed in _SEEDS.value for task in _TASKS.value]
    run_jobs(jobs, run, Path(_DIRECTORY.value), "rival_results.csv", _AT_ONCE.value)


def _job(task: str, seed: int) -> Job:
    key = {"task": task, "seed": seed}
    directory = Path(_RUNS.value) / f"{task}-{seed}"
    length = {"total_steps": _STEPS.value, "eval_every": _EVERY.value}
    return Job({**key, "settings": "zoo"}, {**key, **length, "directory": str(directory)})


if __name__ == "__main__":
    app.run(main)
