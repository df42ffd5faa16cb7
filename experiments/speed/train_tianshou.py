"""Trains Tianshou's TRPO; prints steps, seconds and the time of the first update as JSON.

Runs in the peers' environment:

    python -m experiments.speed.train_tianshou '{"env": "Walker2d-v5", "num_envs": 16,
        "num_steps": 1024, "warm_up": 2, "updates": 8, "settings": {…}}'

Collector, buffer and update in the order of Tianshou's trainer, without its logging and tests;
observations and returns are normalised as in its MuJoCo example; `settings` are those of `TRPO`.
Environments are stepped by `DummyVectorEnv`, which is the faster one on few processors: the
example's `ShmemVectorEnv` has a process for each environment.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import gymnasium as gym
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, VectorEnvNormObs
from tianshou.utils.torch_utils import policy_within_training_step

from experiments.speed import tianshou_algorithm


def train(
    env: str, num_envs: int, num_steps: int, warm_up: int, updates: int, settings: dict[str, Any]
) -> dict[str, float]:
    """Steps, seconds and processor seconds of the updates after the warm-up."""
    envs = VectorEnvNormObs(DummyVectorEnv([lambda: gym.make(env)] * num_envs))
    observations, actions = envs.observation_space[0], envs.action_space[0]
    algorithm = tianshou_algorithm.for_vectors(
        observations.shape[0], actions, (64, 64), return_scaling=True, **settings
    )
    # The example's buffer, which holds more than one collection.
    buffer = VectorReplayBuffer(max(4096, 2 * num_steps), num_envs)
    collector = Collector[CollectStats](algorithm, envs, buffer, exploration_noise=True)
    collector.reset()
    steps, collecting, begins, processor = [], [], [], []
    for _ in range(warm_up + updates):
        begins.append(time.monotonic())
        processor.append(time.process_time())
        with policy_within_training_step(algorithm.policy):
            steps.append(collector.collect(n_step=num_steps).n_collected_steps)
            collecting.append(time.monotonic() - begins[-1])
            algorithm.update(buffer=collector.buffer, batch_size=None, repeat=1)
        collector.reset_buffer(keep_statistics=True)
    begins.append(time.monotonic())
    return {
        "steps": int(sum(steps[warm_up:])),
        "seconds": begins[-1] - begins[warm_up],
        "collecting_seconds": sum(collecting[warm_up:]),
        "processor_seconds": time.process_time() - processor[warm_up],
        "first_update": begins[1],
    }


if __name__ == "__main__":
    # It warns of each step of its line search.
    warnings.simplefilter("ignore")
    print(json.dumps(train(**json.loads(sys.argv[1]))))
