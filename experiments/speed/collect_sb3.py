"""How much of the environments' raw stepping speed sb3-contrib's collection keeps; prints JSON.

Runs in the peers' environment:

    python -m experiments.speed.collect_sb3 '{"num_envs": 16, "num_steps": 128, "rollouts": 40}'

As `collect_ours`: its own DummyVecEnv beside a SyncVectorEnv that a bare loop steps with the
actions that were just sent, rollout by rollout. The policy is a new one.
"""

from __future__ import annotations

import json
import sys

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib import TRPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from experiments.speed import beside_raw


def collect(num_envs: int, num_steps: int, rollouts: int) -> dict[str, float]:
    """Steps that each made, and the seconds of both."""
    makers = [lambda: gym.make("Walker2d-v5")] * num_envs
    envs = VecNormalize(DummyVecEnv(makers))
    # As DummyVecEnv resets: within the last step of an episode.
    bare = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    network = {"net_arch": [64, 64], "activation_fn": torch.nn.Tanh}
    model = TRPO("MlpPolicy", envs, n_steps=num_steps, policy_kwargs=network, device="cpu", seed=0)
    buffer = model.rollout_buffer
    # What `learn` does before its first rollout.
    _, callback = model._setup_learn(num_envs * num_steps * (rollouts + 1))
    bare.reset(seed=0)
    space = bare.single_action_space
    assert isinstance(space, gym.spaces.Box)
    seconds = beside_raw.measure(
        lambda: model.collect_rollouts(envs, callback, buffer, num_steps),
        lambda _: np.clip(buffer.actions, space.low, space.high),
        bare.step,
        rollouts,
    )
    return {"steps": rollouts * num_steps * num_envs, **seconds}


if __name__ == "__main__":
    print(json.dumps(collect(**json.loads(sys.argv[1]))))
