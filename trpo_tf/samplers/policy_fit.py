"""Whether a policy and an environment belong together, checked before the first step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras

from trpo_tf import policies, spaces
from trpo_tf.alike_spaces import are_alike


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
        if own_space is not None and not are_alike(own_space, space, exact_bounds=kind == "action"):
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
