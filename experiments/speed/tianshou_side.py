"""Tianshou's policy update and critic regression, measured on request (see `serving`).

Runs in the peers' environment: `python -m experiments.speed.tianshou_side`.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import TRPO
from tianshou.data import Batch
from torch.nn import functional

from experiments.speed import cases, tianshou_algorithm
from experiments.speed.serving import Work, serve


class _OneNumber(torch.nn.Module):
    """A critic that gives every observation the same value."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(()))

    def forward(self, observations: np.ndarray) -> torch.Tensor:
        return self.number.expand(len(observations))


def update(fields: dict[str, Any]) -> Work:
    """The update of a batch without its critic; the weights are put back between repetitions.

    Ten iterations and a damping of 0.1 are written into Tianshou itself.
    """
    case = cases.update_case(fields)
    if case.hidden_sizes:
        algorithm = _for_vectors(case.hidden_sizes, optim_critic_iters=1)
        observations = _vectors(case.rows)
    else:
        height, width, channels = cases.IMAGE_SHAPE
        shape = (channels, height, width)
        algorithm = tianshou_algorithm.for_images(
            shape,
            cases.NUM_CHOICES,
            cases.CONVOLUTION_FEATURES,
            optim_critic_iters=1,
            max_kl=cases.MAX_KL,
        )
        observations = np.random.default_rng(0).integers(0, 256, (case.rows, *shape), np.uint8)
    batch = _batch(algorithm, observations)
    start = {name: value.clone() for name, value in algorithm.policy.state_dict().items()}
    # An update must end in one step of the critic at least, so that is made one of nothing.
    algorithm.critic = _OneNumber()
    return Work(
        lambda: algorithm._update_with_batch(batch, batch_size=None, repeat=1),
        lambda: algorithm.policy.load_state_dict(start),
    )


def value(fields: dict[str, Any]) -> Work:
    """The critic's loop of the update, which cannot be called alone, written out."""
    case = cases.value_case(fields)
    algorithm = _for_vectors(case.hidden_sizes)
    batch = _batch(algorithm, _vectors(case.rows))

    def fit() -> None:
        for _ in range(case.epochs):
            values = algorithm.critic(batch.obs).flatten()
            algorithm.optim.step(functional.mse_loss(batch.returns, values))

    return Work(fit)


def _for_vectors(hidden_sizes: tuple[int, ...], **settings: Any) -> TRPO:
    actions = gym.spaces.Box(-1, 1, (cases.ACTION_SIZE,), np.float32)
    size = cases.OBSERVATION_SIZE
    return tianshou_algorithm.for_vectors(
        size, actions, hidden_sizes, max_kl=cases.MAX_KL, **settings
    )


def _vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, cases.OBSERVATION_SIZE), np.float32)


def _batch(algorithm: TRPO, observations: np.ndarray) -> Batch:
    """The policy's own actions on these observations, random advantages and returns."""
    with torch.no_grad():
        parts = []
        for rows in np.array_split(observations, -(-len(observations) // 512)):
            distribution = algorithm.policy(Batch(obs=rows, info={})).dist
            actions = distribution.sample()
            parts.append((actions, distribution.log_prob(actions)))
    actions, log_probs = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Batch(
        obs=observations,
        info={},
        act=actions,
        logp_old=log_probs,
        adv=torch.randn(len(observations)),
        returns=torch.randn(len(observations)),
    )


if __name__ == "__main__":
    # It warns of each step of its line search.
    warnings.simplefilter("ignore")
    serve({"update": update, "value": value})
