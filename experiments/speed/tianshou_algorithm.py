"""Tianshou's TRPO for vectors and for images, made as its own MuJoCo example makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import TRPO
from tianshou.algorithm.modelfree.reinforce import (
    DiscreteActorPolicy,
    ProbabilisticActorPolicy,
)
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.env.atari.atari_network import DQNet, ScaledObsInputActionReprNet
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.distributions import Distribution, Independent, Normal


def for_vectors(
    observation_size: int,
    action_space: gym.spaces.Box,
    hidden_sizes: Sequence[int],
    **settings: Any,
) -> TRPO:
    """Gaussian policy and critic with tanh layers of their own."""
    nets = [
        Net(state_shape=observation_size, hidden_sizes=hidden_sizes, activation=torch.nn.Tanh)
        for _ in range(2)
    ]
    actor = ContinuousActorProbabilistic(
        preprocess_net=nets[0], action_shape=action_space.shape, unbounded=True
    )
    critic = ContinuousCritic(preprocess_net=nets[1])
    torch.nn.init.constant_(actor.sigma_param, -0.5)
    for layer in (*actor.modules(), *critic.modules()):
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.orthogonal_(layer.weight, gain=np.sqrt(2))
            torch.nn.init.zeros_(layer.bias)
    for layer in actor.mu.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data.mul_(0.01)
    policy = ProbabilisticActorPolicy(
        actor=actor, dist_fn=_gaussian, action_space=action_space, action_bound_method="clip"
    )
    return _trpo(policy, critic, settings)


def for_images(
    image_shape: tuple[int, int, int],
    num_choices: int,
    num_features: int,
    **settings: Any,
) -> TRPO:
    """Categorical policy with NatureCNN's layers; the critic shares them."""
    channels, height, width = image_shape
    net = DQNet(
        c=channels,
        h=height,
        w=width,
        action_shape=num_choices,
        features_only=True,
        output_dim_added_layer=num_features,
    )
    scaled = ScaledObsInputActionReprNet(net)
    actor = DiscreteActor(preprocess_net=scaled, action_shape=num_choices, softmax_output=False)
    policy = DiscreteActorPolicy(actor=actor, action_space=gym.spaces.Discrete(num_choices))
    return _trpo(policy, DiscreteCritic(preprocess_net=scaled), settings)


def _gaussian(parameters: tuple[torch.Tensor, torch.Tensor]) -> Distribution:
    mean, deviation = parameters
    return Independent(Normal(mean, deviation), 1)


def _trpo(policy: ProbabilisticActorPolicy, critic: Any, settings: dict[str, Any]) -> TRPO:
    optimizer = AdamOptimizerFactory(lr=1e-3)
    return TRPO(policy=policy, critic=critic, optim=optimizer, **settings)
