"""An environment whose every observation says which process, object, episode and step made it."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np


class Place(NamedTuple):
    """Where an observation was made.

    Attributes:
        life: a random number of the environment's object: no two are alike.
        process: its id.
        episode, step: counted from 0.
        action: that led there, 0 after a reset.
    """

    life: float
    process: float
    episode: float
    step: float
    action: float


class LifeEnv(gym.Env):
    """Counts its own steps; episodes last 3 to 9 of them and end by termination and truncation.

    Args:
        step_seconds: how long a step waits.
        hangs: a directory; in a process whose id is the name of a file there no step ends.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (len(Place._fields),), np.float64)
    action_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float32)

    def __init__(self, step_seconds: float = 0.0, hangs: str | None = None) -> None:
        self.step_seconds = step_seconds
        self.hang_mark = None if hangs is None else Path(hangs) / str(os.getpid())
        self.life = float(secrets.randbits(48))
        self.episode = -1
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.episode += 1
        self.steps = 0
        return self._observation(0.0), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(self.step_seconds)
        while self.hang_mark is not None and self.hang_mark.exists():
            time.sleep(1.0)
        self.steps += 1
        observation = self._observation(float(action[0]))
        return observation, float(self.steps), *end_of(self.episode, self.steps), {}

    def _observation(self, action: float) -> np.ndarray:
        return np.array(Place(self.life, os.getpid(), self.episode, self.steps, action))


def episode_length(episode: float) -> float:
    """Steps of an episode, by its number."""
    return 3 + episode % 7


def end_of(episode: float, step: float) -> tuple[bool, bool]:
    """Whether a step terminates and whether it truncates its episode, by the episode's number."""
    is_over, is_terminal = step == episode_length(episode), episode % 2 == 0
    return is_over and is_terminal, is_over and not is_terminal


def make_life_envs(
    num_envs: int, seed: int, step_seconds: float = 0.0, hangs: str | None = None
) -> gym.vector.VectorEnv:
    """In this process, for a Ray worker."""
    return gym.vector.SyncVectorEnv([lambda: LifeEnv(step_seconds, hangs)] * num_envs)


def make_life_processes(
    num_envs: int, seed: int, step_seconds: float = 0.0, hangs: str | None = None
) -> gym.vector.VectorEnv:
    """A process each, for the other samplers."""
    return gym.vector.AsyncVectorEnv([lambda: LifeEnv(step_seconds, hangs)] * num_envs)
