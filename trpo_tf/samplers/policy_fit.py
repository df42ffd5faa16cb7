"""Whether a policy and an environment belong together, checked before the first step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np

from trpo_tf import policies, spaces


def fitting_distribution(
    policy: keras.Model, observation_space: gym.Space, action_space: gym.Space, num_rows: int
) -> Any:
    """Runs a policy once on zeros, which builds a model without variables, and checks the answer.

    Args:
        policy: observations to a `tfd.Distribution`.
        observation_space: of one environment.
        action_space: of one environment.
        num_rows: B.

    Returns:
        The distribution for `num_rows` observations of zeros.

    Raises:
        TypeError: if the policy is no Keras model, or its output no distribution with a KL
            divergence.
        ValueError: for unsupported spaces, or spaces other than the policy's.
    """
    if not isinstance(policy, keras.Model):
        raise TypeError(
            f"policy must be a keras.Model, got {type(policy).__name__}; "
            "trpo_tf.make_policy(observation_space, action_space) makes one."
        )
    spaces.validate_observation_space(observation_space)
    spaces.validate_action_space(action_space)
    for kind, space in (("observation", observation_space), ("action", action_space)):
        own_space = getattr(policy, f"{kind}_space", None)
        if own_space is not None and not _is_alike(own_space, space, exact_bounds=kind == "action"):
            raise ValueError(
                f"the policy's {kind} space is {own_space}, but the environment's is {space}; make "
                "the policy with env.single_observation_space and env.single_action_space."
            )
    policies.build(policy, observation_space)
    distribution = policy(policies.zero_observations(observation_space, num_rows))
    policies.validate_distribution(distribution, num_rows)
    if tuple(distribution.event_shape) != action_space.shape:
        raise ValueError(
            f"the policy draws actions of shape {list(distribution.event_shape)}, but those of "
            f"{action_space} have shape {list(action_space.shape or ())}; its distribution must "
            "have the action's shape as event shape."
        )
    return distribution


def _is_alike(own: gym.Space, other: gym.Space, exact_bounds: bool) -> bool:
    """Whether two spaces hold the same arrays; the width of a float and bounds seen do not count.

    EnvPool gives the environments of Gymnasium other floats and other bounds of observations.
    """
    if isinstance(own, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return own.keys() == other.keys() and all(
            _is_alike(own[key], other[key], exact_bounds)
            for key in own.keys()  # noqa: SIM118
        )
    if isinstance(own, gym.spaces.Tuple) and isinstance(other, gym.spaces.Tuple):
        return len(own) == len(other) and all(
            _is_alike(part, other[index], exact_bounds) for index, part in enumerate(own)
        )
    if isinstance(own, gym.spaces.Box) and isinstance(other, gym.spaces.Box):
        return (
            own.shape == other.shape
            and np.dtype(own.dtype).kind == np.dtype(other.dtype).kind
            and not (exact_bounds and _bounds_differ(own, other))
        )
    return own == other


def _bounds_differ(own: gym.spaces.Box, other: gym.spaces.Box) -> bool:
    return not (np.allclose(own.low, other.low) and np.allclose(own.high, other.high))
