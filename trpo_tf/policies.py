"""Policies: Keras models from observations to a TFP distribution over actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf import functional, spaces
from trpo_tf.action_bounds import ActionBounds
from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.distribution_parameters import components, in_float64
from trpo_tf.heads import make_head, num_outputs
from trpo_tf.torsos import check_size, make_torso

tfd = tfp.distributions


class Policy(keras.Model):
    """A torso and a head: raw observations [N, *O] to a `tfd.Distribution` of batch [N].

    Variables: the torso's (a normaliser's statistics are not trained), the head's, and
    `policy_version`, the int64 count of updates, which is no weight of the network.

    Attributes:
        observation_space: what the policy takes.
        action_space: what its actions are for, once `action_map.to_env_actions` has mapped them.
        rescale_actions: whether that map takes [−1, 1] to the bounds of the space.
        policy_version: tf.Variable, int64.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        torso: keras.layers.Layer,
        head: keras.layers.Layer,
        rescale_actions: bool,
        dtype: str,
    ) -> None:
        super().__init__(dtype=dtype, name="policy")
        self.observation_space = observation_space
        self.action_space = action_space
        self.rescale_actions = rescale_actions
        self.torso = torso
        self.head = head
        policy_version(self)

    def call(self, observations: Any) -> Any:
        """Raw observations [N, *O] to the distribution of the drawn, not yet mapped, actions."""
        return self.head(self.torso(observations))

    def update_statistics(self, observations: Any, weights: Any) -> None:
        """Merges raw observations [M, *O] of weights [M] into the normaliser, if there is one."""
        self.torso.update_statistics(observations, weights)


def make_policy(
    observation_space: gym.Space,
    action_space: gym.Space,
    *,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: str = "tanh",
    initial_log_std: float = -0.5,
    state_dependent_std: bool = False,
    mean_limit: float | None = None,
    clipped_likelihood: bool = False,
    normalize_observations: bool = True,
    rescale_actions: bool = False,
    dtype: str = "float32",
    seed: int = 0,
) -> Policy:
    """Makes the policy that fits a pair of Gymnasium spaces.

    Box actions get a Gaussian, Discrete a categorical, MultiDiscrete independent categoricals,
    MultiBinary independent Bernoullis. Images (three-dimensional bytes) get convolutions, all
    else a multi-layer perceptron on Gymnasium's own flattening. Defaults are those of the best
    published results: 64×64 tanh, orthogonal weights, a last layer × 0.01.

    Args:
        observation_space: of one environment (`env.single_observation_space`).
        action_space: of one environment.
        hidden_sizes: units of the hidden layers; not used for images.
        activation: of the hidden layers, a Keras name.
        initial_log_std: of Box actions, log of the actions' units.
        state_dependent_std: whether the deviation is an output of the network.
        mean_limit: for bounded Boxes: how far from their middle a tanh lets the Gaussian's mean go,
            > 0, in half widths; None: anywhere. A mean far beyond the bounds feels no gradient, as
            every action is clipped there, and what it drives stays pinned.
        clipped_likelihood: for bounded Boxes: whether the likelihood of an action beyond a bound is
            that of all that is clipped to it (`ClippedNormal`). Rollouts of other policies must
            then bring log-probabilities of that kind, too.
        normalize_observations: running normalisation inside the model.
        rescale_actions: for bounded Boxes: actions in [−1, 1] are mapped to the bounds.
        dtype: "float32" or "float64".
        seed: of the initial weights.

    Raises:
        ValueError: for spaces or settings that are not supported.

    >>> env_spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    >>> policy = make_policy(*env_spaces)
    >>> policy(np.zeros([5, 3], np.float32)).batch_shape.as_list()
    [5]
    """
    spaces.validate_action_space(action_space)
    if not np.isfinite(initial_log_std):
        raise ValueError(f"initial_log_std must be finite, got {initial_log_std}. -0.5 is typical.")
    if mean_limit is not None and not 0 < mean_limit < np.inf:
        raise ValueError(f"mean_limit must be > 0 and finite, got {mean_limit}. 1.5 is typical.")
    spaces.validate_observation_space(observation_space)
    check_size(observation_space, hidden_sizes, num_outputs(action_space))
    torso = make_torso(
        observation_space, hidden_sizes, activation, normalize_observations, dtype, seed
    )
    head = make_head(
        action_space,
        initial_log_std,
        state_dependent_std,
        _normal_maker(action_space, rescale_actions, mean_limit, clipped_likelihood),
        dtype,
        seed + 1000,
    )
    policy = Policy(observation_space, action_space, torso, head, rescale_actions, dtype)
    build(policy, observation_space)
    return policy


def _normal_maker(
    action_space: gym.Space,
    rescale_actions: bool,
    mean_limit: float | None,
    clipped_likelihood: bool,
) -> Callable[[Any, Any], Any]:
    """Means and deviations [N, *A] to the distribution of a Box's entries."""
    if not isinstance(action_space, gym.spaces.Box):
        return tfd.Normal
    bounds = ActionBounds(action_space, rescale_actions)

    def make(loc: Any, scale: Any) -> Any:
        if mean_limit is not None:
            loc = bounds.limited(loc, mean_limit)
        if clipped_likelihood:
            return ClippedNormal(loc, scale, bounds.low, bounds.high)
        return tfd.Normal(loc, scale)

    return make


def build(model: keras.Model, observation_space: gym.Space) -> None:
    """Creates the variables of a model that has not been called yet."""
    if not functional.is_built(model):
        model(zero_observations(observation_space, 1))


def zero_observations(observation_space: gym.Space, num_rows: int) -> Any:
    """A batch of zeros of the space's structure, shapes and dtypes."""
    return tf.nest.map_structure(
        lambda spec: tf.zeros([num_rows, *spec.shape[1:]], spec.dtype),
        spaces.observation_specs(observation_space),
    )


def policy_version(policy: keras.Model) -> Any:
    """The count of updates of a policy, an int64 tf.Variable; attached where there is none.

    A plain variable, not a weight of the network: it never enters the network's state.
    """
    version = getattr(policy, "policy_version", None)
    if version is None:
        version = tf.Variable(0, dtype=tf.int64, trainable=False, name="policy_version")
        policy.policy_version = version
    return version


def log_probs_of(distribution: Any, actions: Any) -> Any:
    """Log π(a|s) of each row, [n]; a wrong shape of actions would spread over all rows in silence.

    Args:
        distribution: what a policy returned for n observations.
        actions: [n, *A].

    Raises:
        ValueError: if the actions are not of the distribution's events, or the answer is not [n].
    """
    events, given = distribution.event_shape, actions.shape[1:]
    if not given.is_compatible_with(events):
        raise ValueError(
            f"actions must be [N, *{events.as_list()}] for this policy, got {actions.shape}."
        )
    log_probs = distribution.log_prob(actions)
    if log_probs.shape.rank != 1:
        raise ValueError(
            f"log_prob must give [N] for actions of shape {actions.shape}, got {log_probs.shape}; "
            "wrap action dimensions in tfd.Independent(distribution, reinterpreted_batch_ndims=1)."
        )
    return log_probs


def validate_distribution(distribution: Any, num_rows: int) -> None:
    """Checks what a policy returned for `num_rows` observations.

    Raises:
        TypeError: if it is no TFP distribution, or one without composite tensors or without a
            registered KL divergence to its own kind, or with one that needs float32.
        ValueError: if its batch is not one distribution for each observation.
    """
    name = type(distribution).__name__
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(
            f"a policy must return a tfp.distributions.Distribution, got {name}; "
            "wrap its outputs, as in tfd.Categorical(logits=outputs)."
        )
    if distribution.batch_shape.rank != 1 or distribution.batch_shape[0] not in (None, num_rows):
        raise ValueError(
            f"a policy must return one distribution for each observation: batch shape "
            f"[{num_rows}], got {distribution.batch_shape.as_list()}; wrap action dimensions in "
            "tfd.Independent(distribution, reinterpreted_batch_ndims=1)."
        )
    parts = components(distribution)
    if parts[0] is distribution:
        raise TypeError(
            f"{name} is no composite tensor, so the Fisher product cannot take it apart; use a "
            "distribution of tfp.distributions or derive from tfp.experimental.AutoCompositeTensor."
        )
    # A copy with parameter tensors of its own, as π_θ will be: some divergences hold only between
    # distributions that share a part, a bijector say.
    copy = tf.nest.pack_sequence_as(
        distribution, [tf.identity(part) for part in parts], expand_composites=True
    )
    try:
        distribution.kl_divergence(copy)
    except NotImplementedError as error:  # and for a pair of classes without a divergence
        raise TypeError(
            f"{name} has no KL divergence registered with itself, which the trust region needs; "
            "register one with tfp.distributions.RegisterKL or use another distribution."
        ) from error
    try:
        wide, wide_copy = in_float64(distribution, copy)
        wide.kl_divergence(wide_copy)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        first_line = str(error).partition("\n")[0]
        raise TypeError(
            f"the KL divergence of {name} must be computable with parameters of float64 too, in "
            "which the trust region is measured; give its constants the parameters' own dtype "
            f"({first_line})."
        ) from error
