"""An environment whose every observation and reward says where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np


class Place(NamedTuple):
    """Where an observation was made; `action` is the one that led there, 0 after a reset."""

    env: int
    episode: int
    step: int
    action: float


class CountingEnv(gym.Env):
    """Counts its own steps; episode e of environment i lasts 1 to 5 steps, fixed by (i, e).

    Observation: the `Place` [4] in float64, or a Dict of it and the number of the step. Reward:
    10,000 env + 100 episode + step. Episodes end by termination, truncation and both in turn. A
    step after an episode's end and a step without a reset are errors.
    """

    def __init__(self, index: int, dict_observations: bool = False) -> None:
        self.index = index
        self.dict_observations = dict_observations
        place = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.observation_space = (
            gym.spaces.Dict({"step": gym.spaces.Discrete(10), "place": place})
            if dict_observations
            else place
        )
        self.action_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float32)
        self.episode = -1
        self.steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.episode = -1
        self.episode += 1
        self.steps = 0
        return self._observation(0.0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.steps is None:
            raise RuntimeError("stepped outside an episode")
        self.steps += 1
        observation = self._observation(float(action[0]))
        reward = place_reward(self.index, self.episode, self.steps)
        terminated = truncated = False
        if self.steps == episode_length(self.index, self.episode):
            terminated, truncated = episode_end(self.index, self.episode)
            self.steps = None
        return observation, reward, terminated, truncated, {}

    def _observation(self, action: float) -> Any:
        place = np.array(Place(self.index, self.episode, self.steps or 0, action), np.float64)
        return {"step": self.steps, "place": place} if self.dict_observations else place


def place_reward(index: int, episode: int, step: int) -> float:
    return 10_000.0 * index + 100.0 * episode + step


def episode_length(index: int, episode: int) -> int:
    return 1 + (7 * index + 3 * episode) % 5


def episode_end(index: int, episode: int) -> tuple[bool, bool]:
    """Terminated, truncated."""
    return [(True, False), (False, True), (True, True)][(index + episode) % 3]


def counting_env_makers(
    num_envs: int, dict_observations: bool = False
) -> list[Callable[[], CountingEnv]]:
    """What SyncVectorEnv and AsyncVectorEnv are made from."""
    return [
        lambda index=index: CountingEnv(index, dict_observations)  # type: ignore[misc]
        for index in range(num_envs)
    ]
