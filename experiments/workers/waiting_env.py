"""An environment whose step waits, so that two cores can stand for many."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np


class WaitingEnv(gym.Env):
    """Observes and pays nothing; episodes last 100 steps.

    Args:
        step_seconds: how long a step waits.
        observation_size: numbers of an observation.
    """

    def __init__(self, step_seconds: float, observation_size: int) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (observation_size,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (6,), np.float32)
        self.step_seconds = step_seconds
        self._observation_size = observation_size
        self.steps = 0

    def _observation(self) -> np.ndarray:
        return np.zeros(self._observation_size, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(self.step_seconds)
        self.steps += 1
        return self._observation(), 0.0, False, self.steps % 100 == 0, {}


def make_waiting_envs(
    num_envs: int, seed: int, step_seconds: float = 0.02, observation_size: int = 17
) -> gym.vector.VectorEnv:
    """`num_envs` must be 1 for the wait to be that of a step."""
    return gym.vector.SyncVectorEnv([lambda: WaitingEnv(step_seconds, observation_size)] * num_envs)
