"""Trains sb3-contrib's TRPO; prints steps, seconds and the time of the first update as JSON.

Runs in the peers' environment:

    python -m experiments.speed.train_sb3 '{"env": "Walker2d-v5", "num_envs": 8, "warm_up": 2,
        "updates": 8, "settings": {…}}'

Observations and rewards are normalised; `settings` are those of `TRPO`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gymnasium as gym
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


class _Clock(BaseCallback):
    """Notes when collections begin and end; an update has ended when the next one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.begins: list[float] = []
        self.ends: list[float] = []
        self.processor: list[float] = []

    def _on_rollout_start(self) -> None:
        self.begins.append(time.monotonic())
        self.processor.append(time.process_time())

    def _on_rollout_end(self) -> None:
        self.ends.append(time.monotonic())

    def _on_step(self) -> bool:
        return True


def train(
    env: str, num_envs: int, warm_up: int, updates: int, settings: dict[str, Any]
) -> dict[str, float]:
    """Steps, seconds and processor seconds of the updates after the warm-up."""
    envs = VecNormalize(DummyVecEnv([lambda: gym.make(env)] * num_envs))
    network = {"net_arch": [64, 64], "activation_fn": torch.nn.Tanh}
    model = TRPO("MlpPolicy", envs, policy_kwargs=network, device="cpu", seed=0, **settings)
    clock = _Clock()
    rows = num_envs * model.n_steps
    model.learn(rows * (warm_up + updates), callback=clock)
    clock.on_rollout_start()
    return {
        "steps": rows * updates,
        "seconds": clock.begins[-1] - clock.begins[warm_up],
        "collecting_seconds": sum(clock.ends[warm_up:]) - sum(clock.begins[warm_up:-1]),
        "processor_seconds": clock.processor[-1] - clock.processor[warm_up],
        "first_update": clock.begins[1],
    }


if __name__ == "__main__":
    print(json.dumps(train(**json.loads(sys.argv[1]))))
