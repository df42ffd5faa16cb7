"""From features to a distribution over actions: one layer for each kind of action space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# A small last layer makes the first policy nearly independent of the state (Engstrom 2020).
_LAST_LAYER_GAIN = 0.01
# Finite, so that forward-mode products stay finite; its softmax is exactly 0 in every float type.
_IMPOSSIBLE = -1e9


def make_head(
    action_space: Any,
    initial_log_std: float,
    state_dependent_std: bool,
    make_normal: Callable[[Any, Any], Any],
    dtype: str,
    seed: int,
) -> keras.layers.Layer:
    """Picks the head for a supported, already validated action space.

    `make_normal` is for Boxes: the means and deviations of a head, [N, *A], to the distribution.
    """
    if isinstance(action_space, gym.spaces.Box):
        gaussian = StateDependentGaussianHead if state_dependent_std else GaussianHead
        return gaussian(
            action_shape=action_space.shape,
            initial_log_std=initial_log_std,
            make_normal=make_normal,
            dtype=dtype,
            seed=seed,
        )
    if isinstance(action_space, gym.spaces.Discrete):
        return CategoricalHead(int(action_space.n), dtype=dtype, seed=seed)
    if isinstance(action_space, gym.spaces.MultiDiscrete):
        return MultiCategoricalHead(action_space.nvec, dtype=dtype, seed=seed)
    return BernoulliHead(action_space.shape, dtype=dtype, seed=seed)


def num_outputs(action_space: Any) -> int:
    """How many numbers a head takes from its last layer.

    >>> num_outputs(gym.spaces.Discrete(3)), num_outputs(gym.spaces.MultiDiscrete([2, 5]))
    (3, 10)
    """
    if isinstance(action_space, gym.spaces.MultiDiscrete):
        return int(action_space.nvec.size) * int(action_space.nvec.max())
    return int(gym.spaces.utils.flatdim(action_space))


def _last_layer(size: int, dtype: str, seed: int, name: str) -> keras.layers.Dense:
    return keras.layers.Dense(
        size,
        kernel_initializer=keras.initializers.Orthogonal(_LAST_LAYER_GAIN, seed=seed),
        dtype=dtype,
        name=name,
    )


class GaussianHead(keras.layers.Layer):
    """Independent normals for a Box; log standard deviations are variables of their own.

    Trained variables: the mean layer's, and `log_std` [∏A], the same in every state.
    """

    def __init__(
        self,
        action_shape: Sequence[int],
        initial_log_std: float,
        make_normal: Callable[[Any, Any], Any],
        dtype: str,
        seed: int,
        name: str = "gaussian",
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        self.make_normal = make_normal
        self.action_shape = tuple(action_shape)
        self.size = int(np.prod(self.action_shape))
        self.initial_log_std = initial_log_std
        self.mean = _last_layer(self.size, dtype, seed, "mean")

    def build(self, input_shape: Any) -> None:
        """Creates the variables for features of `input_shape[-1]` entries."""
        self.mean.build(input_shape)
        self.log_std = self.add_weight(
            name="log_std",
            shape=(self.size,),
            initializer=keras.initializers.Constant(self.initial_log_std),
            dtype=self.dtype,
        )
        self.built = True

    def call(self, features: Any) -> Any:
        """Features [N, F] to Independent of what `make_normal` makes, of batch [N] and event A."""
        loc = self.mean(features)
        scale = tf.broadcast_to(tf.exp(tf.convert_to_tensor(self.log_std)), tf.shape(loc))
        return _independent(self.make_normal, loc, scale, self.action_shape)


class StateDependentGaussianHead(GaussianHead):
    """Independent normals for a Box; means and log standard deviations depend on the state."""

    def __init__(self, *, dtype: str, seed: int, **settings: Any) -> None:
        super().__init__(dtype=dtype, seed=seed, name="state_dependent_gaussian", **settings)
        self.log_std = _last_layer(self.size, dtype, seed + 1, "log_std")

    def build(self, input_shape: Any) -> None:
        """Creates the variables for features of `input_shape[-1]` entries."""
        self.mean.build(input_shape)
        self.log_std.build(input_shape)
        self.built = True

    def call(self, features: Any) -> Any:
        """Features [N, F] to Independent of what `make_normal` makes, of batch [N] and event A."""
        scale = tf.exp(self.log_std(features) + self.initial_log_std)
        return _independent(self.make_normal, self.mean(features), scale, self.action_shape)


def _independent(
    make_normal: Callable[[Any, Any], Any], loc: Any, scale: Any, action_shape: tuple[int, ...]
) -> Any:
    loc, scale = (tf.reshape(part, [-1, *action_shape]) for part in (loc, scale))
    return tfd.Independent(make_normal(loc, scale), len(action_shape))


class CategoricalHead(keras.layers.Layer):
    """A categorical over `num_actions` choices, numbered from 0, for a Discrete space."""

    def __init__(self, num_actions: int, dtype: str, seed: int) -> None:
        super().__init__(dtype=dtype, name="categorical")
        self.logits = _last_layer(num_actions, dtype, seed, "logits")

    def build(self, input_shape: Any) -> None:
        """Creates the variables for features of `input_shape[-1]` entries."""
        self.logits.build(input_shape)
        self.built = True

    def call(self, features: Any) -> Any:
        """Features [N, F] to Categorical of batch [N]."""
        return tfd.Categorical(logits=self.logits(features))


class MultiCategoricalHead(keras.layers.Layer):
    """Independent categoricals for a MultiDiscrete space of any shape, each numbered from 0.

    The logits stand in one array as wide as the widest choice; what a narrower one does not have
    is impossible (probability exactly 0).
    """

    def __init__(self, num_choices: np.ndarray, dtype: str, seed: int) -> None:
        super().__init__(dtype=dtype, name="multi_categorical")
        num_choices = np.asarray(num_choices)
        self.logits_shape = (*num_choices.shape, int(num_choices.max()))
        self.possible = np.arange(num_choices.max()) < num_choices[..., np.newaxis]
        self.logits = _last_layer(int(np.prod(self.logits_shape)), dtype, seed, "logits")

    def build(self, input_shape: Any) -> None:
        """Creates the variables for features of `input_shape[-1]` entries."""
        self.logits.build(input_shape)
        self.built = True

    def call(self, features: Any) -> Any:
        """Features [N, F] to Independent(Categorical) of batch [N]."""
        logits = tf.reshape(self.logits(features), [-1, *self.logits_shape])
        masked = tf.where(self.possible, logits, tf.constant(_IMPOSSIBLE, logits.dtype))
        return tfd.Independent(tfd.Categorical(logits=masked), len(self.logits_shape) - 1)


class BernoulliHead(keras.layers.Layer):
    """Independent Bernoullis for a MultiBinary space of any shape."""

    def __init__(self, action_shape: Sequence[int], dtype: str, seed: int) -> None:
        super().__init__(dtype=dtype, name="bernoulli")
        self.action_shape = tuple(action_shape)
        self.logits = _last_layer(int(np.prod(self.action_shape)), dtype, seed, "logits")

    def build(self, input_shape: Any) -> None:
        """Creates the variables for features of `input_shape[-1]` entries."""
        self.logits.build(input_shape)
        self.built = True

    def call(self, features: Any) -> Any:
        """Features [N, F] to Independent(Bernoulli) of batch [N] and event A."""
        logits = tf.reshape(self.logits(features), [-1, *self.action_shape])
        return tfd.Independent(tfd.Bernoulli(logits=logits), len(self.action_shape))
