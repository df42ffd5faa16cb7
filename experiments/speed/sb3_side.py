"""sb3-contrib's policy update and critic regression, measured on request (see `serving`).

Runs in the peers' environment: `python -m experiments.speed.sb3_side`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.logger import Logger
from torch.nn import functional

from experiments.speed import cases
from experiments.speed.serving import Work, serve


class _SpacesOnly(gym.Env):
    """An environment that is never stepped."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


def update(fields: dict[str, Any]) -> Work:
    """`TRPO.train` without critic steps; the weights are put back between repetitions."""
    case = cases.update_case(fields)
    # Channels first, as in all of PyTorch.
    height, width, channels = cases.IMAGE_SHAPE
    if case.hidden_sizes:
        env = _vector_env()
        network = {"net_arch": list(case.hidden_sizes), "activation_fn": torch.nn.Tanh}
        model = _model("MlpPolicy", env, case.rows, policy_kwargs=network)
    else:
        images = gym.spaces.Box(0, 255, (channels, height, width), np.uint8)
        env = _SpacesOnly(images, gym.spaces.Discrete(cases.NUM_CHOICES))
        model = _model("CnnPolicy", env, case.rows)
    _fill(model)
    start = {name: value.clone() for name, value in model.policy.state_dict().items()}
    return Work(model.train, lambda: model.policy.load_state_dict(start))


def value(fields: dict[str, Any]) -> Work:
    """The critic's loop of `TRPO.train`, which cannot be called alone, written out."""
    case = cases.value_case(fields)
    network = {"net_arch": list(case.hidden_sizes), "activation_fn": torch.nn.Tanh}
    model = _model("MlpPolicy", _vector_env(), case.rows, policy_kwargs=network)
    _fill(model)

    def fit() -> None:
        losses = []
        for _ in range(case.epochs):
            for rows in model.rollout_buffer.get(case.minibatch_size):
                values = model.policy.predict_values(rows.observations)
                loss = functional.mse_loss(rows.returns, values.flatten())
                losses.append(loss.item())
                model.policy.optimizer.zero_grad()
                loss.backward()
                model.policy.optimizer.step()

    return Work(fit)


def _vector_env() -> gym.Env:
    observations = gym.spaces.Box(-np.inf, np.inf, (cases.OBSERVATION_SIZE,), np.float32)
    return _SpacesOnly(observations, gym.spaces.Box(-1, 1, (cases.ACTION_SIZE,), np.float32))


def _model(policy: str, env: gym.Env, rows: int, **settings: Any) -> TRPO:
    model = TRPO(
        policy,
        env,
        n_steps=rows,
        batch_size=rows,
        n_critic_updates=0,
        cg_max_steps=cases.CG_STEPS,
        cg_damping=cases.DAMPING,
        target_kl=cases.MAX_KL,
        device="cpu",
        seed=0,
        **settings,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _fill(model: TRPO) -> None:
    """Random observations, the policy's own actions on them, random advantages."""
    buffer, rng = model.rollout_buffer, np.random.default_rng(0)
    shape = buffer.observations.shape
    if buffer.observations.dtype == np.uint8:
        buffer.observations = rng.integers(0, 256, shape, np.uint8)
    else:
        buffer.observations = rng.standard_normal(shape, np.float32)
    with torch.no_grad():
        chunks = [
            model.policy(torch.as_tensor(rows))
            for rows in np.array_split(buffer.observations[:, 0], -(-len(buffer.actions) // 512))
        ]
    actions, _, log_probs = (torch.cat(parts).numpy() for parts in zip(*chunks, strict=True))
    buffer.actions = actions.reshape(buffer.actions.shape).astype(np.float32)
    buffer.log_probs = log_probs.reshape(buffer.log_probs.shape)
    buffer.advantages = rng.standard_normal(buffer.advantages.shape, np.float32)
    buffer.returns = rng.standard_normal(buffer.returns.shape, np.float32)
    buffer.full = True


if __name__ == "__main__":
    serve({"update": update, "value": value})
