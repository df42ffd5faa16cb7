"""Kills processes that collect, again and again, and books every transition that arrives.

    python -m experiments.worker_kills.run --kills=20

A kill is a SIGKILL at a random moment of the rollouts: of one environment's process under the
asynchronous sampler, of one of two workers under Ray's. After each the campaign goes on until
everything that was killed has been replaced. `results.csv` gets a row a sampler.
"""

from __future__ import annotations

import csv
import functools
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from absl import app, flags

import trpo_tf
from experiments.worker_kills import life_env
from experiments.worker_kills.ledger import Ledger

_KILLS = flags.DEFINE_integer("kills", 20, "SIGKILLs of each sampler.")
_SAMPLERS = flags.DEFINE_list("samplers", ["async", "ray"], "Which samplers.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and the victims.")

NUM_ENVS = 4
NUM_STEPS = 50
STEP_SECONDS = 0.004
_PROCESS = life_env.Place._fields.index("process")


def make_policy() -> Any:
    """A small policy for the environment."""
    space = gym.spaces.Box(-np.inf, np.inf, (len(life_env.Place._fields),), np.float64)
    return trpo_tf.make_policy(
        space, gym.spaces.Box(-10.0, 10.0, (1,), np.float32), hidden_sizes=(8,)
    )


def make_async_sampler() -> trpo_tf.AsyncSampler:
    """With a process an environment."""
    make_env = functools.partial(life_env.make_life_processes, step_seconds=STEP_SECONDS)
    sampler = trpo_tf.Sampler(make_env(NUM_ENVS, 0), make_policy(), NUM_STEPS)
    return trpo_tf.AsyncSampler(sampler, timeout=60, make_env=make_env)


def make_ray_sampler() -> trpo_tf.RaySampler:
    """With two workers of this machine."""
    # The workers import this package from where it is.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    recipe = trpo_tf.Recipe(
        functools.partial(life_env.make_life_envs, step_seconds=STEP_SECONDS),
        make_policy,
        NUM_ENVS // 2,
        NUM_STEPS,
    )
    return trpo_tf.RaySampler(make_policy(), recipe, num_workers=2, timeout=60, worker_cpus=0.5)


MAKERS: dict[str, Callable[[], Any]] = {"async": make_async_sampler, "ray": make_ray_sampler}


def collect_under_kills(sampler: Any, kills: int, seed: int) -> dict[str, Any]:
    """Collects while processes are killed at random moments.

    Returns:
        Counts: kills, lost_rollouts, rollouts, transitions, lives.

    Raises:
        AssertionError: a transition came twice, or does not follow from the one before.
    """
    ledger, moments = Ledger(), random.Random(seed)
    rollouts = 0
    killed: set[int] = set()
    at_work = _processes(_book(sampler, ledger))
    for _ in range(kills):
        victim = moments.choice(sorted(at_work))
        delay = moments.uniform(0, 1.5) * NUM_STEPS * STEP_SECONDS
        threading.Timer(delay, os.kill, (victim, signal.SIGKILL)).start()
        killed.add(victim)
        expected = sampler.lost_rollouts + 1
        # Until the loss is known and as many processes as before are there, none of them dead.
        enough = len(at_work)
        seen: set[int] = set()
        while sampler.lost_rollouts < expected or len(seen) < enough:
            at_work = _processes(_book(sampler, ledger))
            rollouts += 1
            if sampler.lost_rollouts == expected:
                seen = (seen | at_work) - killed
        at_work = seen
    return {
        "kills": kills,
        "lost_rollouts": sampler.lost_rollouts,
        "rollouts": rollouts,
        "transitions": len(ledger.transitions),
        "lives": ledger.lives,
        "env_steps": sampler.env_steps,
    }


def _book(sampler: Any, ledger: Ledger) -> trpo_tf.Rollout:
    rollout, _ = sampler.collect()
    ledger.book(rollout)
    return rollout


def _processes(rollout: trpo_tf.Rollout) -> set[int]:
    return {int(process) for process in rollout.observations[-1, :, _PROCESS]}


def main(_: list[str]) -> None:
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        for number, name in enumerate(_SAMPLERS.value):
            sampler = MAKERS[name]()
            counts = collect_under_kills(sampler, _KILLS.value, _SEED.value)
            sampler.close()
            row = {"sampler": name, **counts}
            print(row, flush=True)
            writer = csv.DictWriter(file, row)
            if number == 0:
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    app.run(main)
