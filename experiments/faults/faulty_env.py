"""An environment that goes wrong in one chosen way; importing this registers `Faulty-v0`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

EPISODE = 10
_SLOW_SECONDS = 0.02

# What a fault makes of a sound step's observation and reward.
_SPOILERS: dict[str, Callable[[np.ndarray, float], tuple[Any, Any]]] = {
    "nan_observation": lambda observation, reward: (observation * np.nan, reward),
    "inf_observation": lambda observation, reward: (observation * np.inf, reward),
    "huge_observation": lambda observation, reward: (observation * np.float32(1e30), reward),
    "nan_reward": lambda observation, reward: (observation, np.nan),
    "inf_reward": lambda observation, reward: (observation, np.inf),
    "minus_inf_reward": lambda observation, reward: (observation, -np.inf),
    "huge_reward": lambda observation, reward: (observation, reward * 1e30),
    "observation_shape": lambda observation, reward: (observation[:2], reward),
    "observation_float64": lambda observation, reward: (observation.astype(np.float64), reward),
    "observation_int64": lambda observation, reward: (observation.astype(np.int64), reward),
    "observation_text": lambda observation, reward: (np.array(["x"] * 3), reward),
    "observation_none": lambda observation, reward: (None, reward),
    "reward_none": lambda observation, reward: (observation, None),
    "reward_text": lambda observation, reward: (observation, "x"),
    "reward_array": lambda observation, reward: (observation, np.array([reward, reward])),
}
FAULTS = (*_SPOILERS, "raise", "raise_in_reset", "never_ends", "slow", "hang", "none")


class FaultyEnv(gym.Env):
    """Rewards actions near the observation's first number; sound until its fault begins.

    Args:
        fault: one of `FAULTS`.
        at: steps of this object that are sound.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, fault: str = "none", at: int = 40) -> None:
        if fault not in FAULTS:
            raise ValueError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}.")
        self.fault = fault
        self.at = at
        self.steps = 0
        self.episode_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode_steps = 0
        if self.fault == "raise_in_reset" and self.steps >= self.at:
            raise ValueError("the simulator cannot begin an episode")
        self._observation = self._draw()
        return self._observation, {}

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        reward = -float((action[0] - self._observation[0]) ** 2)
        self._observation = self._draw()
        self.steps += 1
        self.episode_steps += 1
        is_over = self.episode_steps == EPISODE and self.fault != "never_ends"
        answer = self._observation, reward
        if self.steps > self.at:
            answer = self._go_wrong(*answer)
        return *answer, is_over, False, {}

    def _go_wrong(self, observation: np.ndarray, reward: float) -> tuple[Any, Any]:
        if self.fault == "raise":
            raise ValueError("the simulator has diverged")
        if self.fault == "slow":
            time.sleep(_SLOW_SECONDS)
        while self.fault == "hang":
            time.sleep(1)
        spoil = _SPOILERS.get(self.fault)
        return (observation, reward) if spoil is None else spoil(observation, reward)

    def _draw(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


gym.register("Faulty-v0", f"{__name__}:{FaultyEnv.__name__}")
