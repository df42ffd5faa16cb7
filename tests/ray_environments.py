"""What Ray workers of the tests make; they import this file by its name."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np

from trpo_tf.environments import make_vector_env
from trpo_tf.execution import Execution
from trpo_tf.policies import make_policy
from trpo_tf.samplers import Recipe

SPACES = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32), gym.spaces.Discrete(2)


def small_policy(units: int = 8) -> keras.Model:
    return make_policy(*SPACES, hidden_sizes=(units,), seed=1)


def make_envs(num_envs: int, seed: int) -> gym.vector.VectorEnv:
    return make_vector_env("CartPole-v1", num_envs)


class Troubled(gym.Wrapper):
    """Raises at its third step, or hangs there if nothing did before and left its mark."""

    def __init__(self, mark: str | None) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.mark = mark
        self.steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 3:
            if self.mark is None:
                raise ZeroDivisionError("the pole is gone")
            if not Path(self.mark).exists():
                Path(self.mark).touch()
                time.sleep(1000)
        return self.env.step(action)


class Dying(gym.Wrapper):
    """Its process is killed at its third step, if none was before and left its mark."""

    def __init__(self, mark: str) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.mark = mark
        self.steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 3 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.step(action)


def make_dying(num_envs: int, seed: int, mark: str) -> gym.vector.VectorEnv:
    return gym.vector.AsyncVectorEnv([lambda: Dying(mark)] * num_envs)


def make_troubled_processes(num_envs: int, seed: int, mark: str) -> gym.vector.VectorEnv:
    return gym.vector.AsyncVectorEnv([lambda: Troubled(mark)] * num_envs)


def make_troubled(num_envs: int, seed: int, mark: str | None = None) -> gym.vector.VectorEnv:
    return gym.vector.SyncVectorEnv([lambda: Troubled(mark)] * num_envs)


def fail_to_make(num_envs: int, seed: int) -> gym.vector.VectorEnv:
    raise LookupError("no such simulator")


# Nothing is compiled, so that a worker is at work as soon as its process is there.
RECIPE = Recipe(make_envs, small_policy, num_envs=2, num_steps=6, execution=Execution.EAGER)


def troubled_recipe(mark: str | None) -> Recipe:
    return RECIPE._replace(make_env=functools.partial(make_troubled, mark=mark))
