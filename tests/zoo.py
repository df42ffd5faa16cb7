"""One small policy of every kind, made by `make_policy` or by hand, with data for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf.policies import make_policy, zero_observations
from trpo_tf.types import Batch

tfd = tfp.distributions

VECTOR = gym.spaces.Box(-np.inf, np.inf, (3,))
DICTIONARY = gym.spaces.Dict(
    position=gym.spaces.Box(-1, 1, (2,)),
    mode=gym.spaces.Discrete(3, start=-1),
    nested=gym.spaces.Dict(switches=gym.spaces.MultiBinary(2)),
)
TUPLE = gym.spaces.Tuple([gym.spaces.Box(-1, 1, (2, 2)), gym.spaces.MultiDiscrete([2, 3])])
IMAGE = gym.spaces.Box(0, 255, (8, 8, 2), np.uint8)
TORQUES = gym.spaces.Box(-1, 1, (2,))
# Narrow, so that many draws are clipped.
HALF_OPEN = gym.spaces.Box(np.array([-0.3, -0.2], np.float32), np.array([0.4, np.inf], np.float32))


class HandWritten(keras.Model):
    """A user's policy: hidden layers, outputs, and a function that makes a distribution of them."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        num_outputs: int,
        num_extras: int,
        make_distribution: Callable[[Any, Any], Any],
        dtype: str,
        seed: int,
        activation: str,
    ) -> None:
        super().__init__(dtype=dtype)
        glorot = [
            keras.initializers.GlorotNormal(seed=seed + index)
            for index in range(len(hidden_sizes) + 1)
        ]
        self.hidden = [
            keras.layers.Dense(size, activation, kernel_initializer=initializer, dtype=dtype)
            for size, initializer in zip(hidden_sizes, glorot, strict=False)
        ]
        self.outputs_layer = keras.layers.Dense(
            num_outputs, kernel_initializer=glorot[-1], dtype=dtype
        )
        self.extras = self.add_weight(
            shape=(num_extras,), initializer="zeros", dtype=dtype, name="extras"
        )
        self.make_distribution = make_distribution

    def call(self, observations: Any) -> Any:
        features = observations
        for layer in self.hidden:
            features = layer(features)
        return self.make_distribution(
            self.outputs_layer(features), tf.convert_to_tensor(self.extras)
        )


def full_gaussian(outputs: Any, extras: Any) -> Any:
    """Correlated actions; the factor depends on the state and on free parameters."""
    tril = tfp.math.fill_triangular(outputs[:, 2:] * 0.3 + extras)
    tril = tf.linalg.set_diag(tril, tf.exp(tf.linalg.diag_part(tril)))
    return tfd.MultivariateNormalTriL(outputs[:, :2], tril)


def beta(outputs: Any, extras: Any) -> Any:
    concentration = 1 + tf.nn.softplus(outputs + extras)
    return tfd.Independent(tfd.Beta(concentration[:, :1], concentration[:, 1:]), 1)


def diagonal_gaussian(outputs: Any, extras: Any) -> Any:
    """One scale vector for all rows: a parameter tensor without a row dimension."""
    return tfd.MultivariateNormalDiag(outputs, tf.exp(extras))


def one_scale_gaussian(outputs: Any, extras: Any) -> Any:
    """One number for all rows and entries."""
    return tfd.Independent(tfd.Normal(outputs, tf.exp(extras[0])), 1)


def fixed_scale_gaussian(outputs: Any, extras: Any) -> Any:
    """A scale that nothing trains, given as a Python number."""
    return tfd.Independent(tfd.Normal(outputs + extras, 0.5), 1)


def masked_categorical(outputs: Any, extras: Any) -> Any:
    """The last action is impossible."""
    logits = outputs + extras
    impossible = tf.fill(tf.shape(logits[:, :1]), tf.constant(-np.inf, logits.dtype))
    return tfd.Categorical(logits=tf.concat([logits, impossible], axis=1))


class Kind(NamedTuple):
    """How to make a policy, and the spaces that it is for."""

    make: Callable[..., keras.Model]
    observation_space: gym.Space
    action_space: gym.Space


def _made(observation_space: gym.Space, action_space: gym.Space, **settings: Any) -> Kind:
    def make(
        hidden_sizes: Sequence[int], dtype: str, seed: int, activation: str = "tanh"
    ) -> keras.Model:
        return make_policy(
            observation_space,
            action_space,
            hidden_sizes=hidden_sizes,
            activation=activation,
            dtype=dtype,
            seed=seed,
            **settings,
        )

    return Kind(make, observation_space, action_space)


def _hand_written(
    function: Callable[[Any, Any], Any], num_outputs: int, num_extras: int, action_space: gym.Space
) -> Kind:
    def make(
        hidden_sizes: Sequence[int], dtype: str, seed: int, activation: str = "tanh"
    ) -> keras.Model:
        model = HandWritten(
            hidden_sizes, num_outputs, num_extras, function, dtype, seed, activation
        )
        model(tf.cast(zero_observations(VECTOR, 1), dtype))
        return model

    return Kind(make, VECTOR, action_space)


MADE = {
    "gaussian": _made(VECTOR, TORQUES),
    "state_dependent_gaussian": _made(VECTOR, TORQUES, state_dependent_std=True),
    "clipped_gaussian": _made(VECTOR, HALF_OPEN, clipped_likelihood=True, mean_limit=1.5),
    "categorical": _made(VECTOR, gym.spaces.Discrete(4, start=1)),
    "multi_discrete": _made(VECTOR, gym.spaces.MultiDiscrete([2, 3])),
    "multi_binary": _made(VECTOR, gym.spaces.MultiBinary(3)),
    "dict_observations": _made(DICTIONARY, TORQUES),
    "tuple_observations": _made(TUPLE, gym.spaces.Discrete(2)),
    "image": _made(IMAGE, gym.spaces.Discrete(3)),
}
HAND_WRITTEN = {
    "full_gaussian": _hand_written(full_gaussian, 5, 3, TORQUES),
    "beta": _hand_written(beta, 2, 2, gym.spaces.Box(0, 1, (1,))),
    "diagonal_gaussian": _hand_written(diagonal_gaussian, 2, 2, TORQUES),
    "one_scale_gaussian": _hand_written(one_scale_gaussian, 2, 1, TORQUES),
    "fixed_scale_gaussian": _hand_written(fixed_scale_gaussian, 2, 2, TORQUES),
    "masked_categorical": _hand_written(masked_categorical, 3, 3, gym.spaces.Discrete(4)),
}
KINDS = MADE | HAND_WRITTEN
# All but the one with too many parameters for a dense matrix.
SMALL_KINDS = [name for name in KINDS if name != "image"]


def make(
    name: str,
    hidden_sizes: Sequence[int] = (4,),
    dtype: str = "float32",
    seed: int = 0,
    activation: str = "tanh",
) -> keras.Model:
    """A policy whose every variable is away from zero and from the others' values."""
    policy = KINDS[name].make(hidden_sizes, dtype, seed, activation)
    rng = np.random.default_rng(seed + 1)
    for variable in policy.trainable_variables:
        noise = rng.normal(scale=0.3, size=variable.shape) / np.sqrt(max(1, len(variable.shape)))
        if np.prod(variable.shape) < 5000:
            variable.assign(variable + noise)
    return policy


def draw_observations(name: str, num_rows: int, seed: int, dtype: str = "float32") -> Any:
    """A batch from the observation space; floats in `dtype`."""
    space = KINDS[name].observation_space
    space.seed(seed)
    rows = [space.sample() for _ in range(num_rows)]

    def stack(*parts: Any) -> np.ndarray:
        array = np.stack(parts)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return tf.nest.map_structure(stack, *rows)


def draw_batch(
    policy: keras.Model, observations: Any, seed: int, advantages: np.ndarray | None = None
) -> Batch:
    """An on-policy batch, all rows weighing the same, random advantages unless given."""
    distribution = policy(tf.nest.map_structure(tf.convert_to_tensor, observations))
    dtype = policy.compute_dtype
    actions = distribution.sample(seed=(seed, 0))
    log_probs = distribution.log_prob(actions).numpy()
    if advantages is None:
        advantages = np.random.default_rng(seed).normal(size=len(log_probs))
    return Batch(
        observations=observations,
        actions=actions.numpy(),
        advantages=np.asarray(advantages, dtype),
        behaviour_log_probs=log_probs,
        weights=np.ones(len(log_probs), dtype),
    )
