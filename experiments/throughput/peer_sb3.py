"""Trains sb3-contrib's TRPO on the same work; prints seconds and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import gymnasium as gym
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


class _Clock(BaseCallback):
    """Notes when collection begins and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.begins: list[float] = []
        self.ends: list[float] = []

    def _on_rollout_start(self) -> None:
        self.begins.append(time.perf_counter())

    def _on_rollout_end(self) -> None:
        self.ends.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def main() -> None:
    settings = json.loads(sys.argv[1])
    num_envs, num_steps = settings["num_envs"], settings["num_steps"]
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Walker2d")] * num_envs))
    model = TRPO(
        "MlpPolicy",
        env,
        n_steps=num_steps,
        batch_size=settings["critic_minibatch"],
        n_critic_updates=settings["critic_epochs"],
        cg_max_steps=settings["cg_steps"],
        policy_kwargs={"net_arch": [64, 64], "activation_fn": torch.nn.Tanh},
        device="cpu",
        seed=0,
    )
    clock = _Clock()
    updates = settings["warm_up_updates"] + settings["updates"]
    model.learn(num_envs * num_steps * updates, callback=clock)
    end = time.perf_counter()
    warm_up = settings["warm_up_updates"]
    collecting = sum(clock.ends[warm_up:]) - sum(clock.begins[warm_up:])
    total = end - clock.begins[warm_up]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {"collecting": collecting, "learning": total - collecting}
    steps = num_envs * num_steps * settings["updates"]
    print(json.dumps(seconds | {"steps": steps, "peak_mib": memory}))


if __name__ == "__main__":
    main()
