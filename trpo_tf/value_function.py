"""Value functions: Keras models from observations to values in raw reward units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from trpo_tf import spaces
from trpo_tf.policies import build
from trpo_tf.torsos import check_size, make_torso


class ValueFunction(keras.Model):
    """Raw observations [N, *O] to values [N]: the network's output times `output_scale`.

    The network works in units of about 1 while its values are in raw reward units. When the scale
    changes, the last layer is divided by as much, so that the values stay as they are (van Hasselt
    et al. 2016, Pop-Art, eq. 6, without the shift).

    Variables: the torso's and the last layer's; `output_scale` [], not trained.
    """

    def __init__(
        self, observation_space: gym.Space, torso: keras.layers.Layer, dtype: str, seed: int
    ) -> None:
        super().__init__(dtype=dtype, name="value_function")
        self.observation_space = observation_space
        self.torso = torso
        self.values = keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.Orthogonal(1.0, seed=seed),
            dtype=dtype,
            name="values",
        )
        self.output_scale = self.add_weight(
            name="output_scale", shape=(), initializer="ones", trainable=False, dtype=dtype
        )

    def call(self, observations: Any) -> Any:
        """Raw observations [N, *O] to values [N]."""
        outputs = self.values(self.torso(observations))
        return tf.squeeze(outputs, -1) * tf.convert_to_tensor(self.output_scale)

    def update_statistics(self, observations: Any, weights: Any) -> None:
        """Merges raw observations [M, *O] of weights [M] into the normaliser, if there is one."""
        self.torso.update_statistics(observations, weights)

    def set_output_scale(self, scale: Any) -> None:
        """Sets the unit in which the network works, > 0; values do not change."""
        scale = tf.cast(scale, self.output_scale.dtype)
        ratio = self.output_scale / scale
        self.values.kernel.assign(self.values.kernel * ratio)
        self.values.bias.assign(self.values.bias * ratio)
        self.output_scale.assign(scale)


def checked_values(values: Any) -> Any:
    """A critic's output if it is [N]; [N, 1] would be compared with all targets at once.

    Raises:
        ValueError: if it is of another shape.
    """
    if values.shape.rank != 1:
        raise ValueError(
            f"a value function must return [N], got {values.shape}; squeeze its last axis."
        )
    return values


def make_value_function(
    observation_space: gym.Space,
    *,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: str = "tanh",
    normalize_observations: bool = True,
    dtype: str = "float32",
    seed: int = 0,
) -> ValueFunction:
    """Makes the critic that fits an observation space; arguments as in `make_policy`.

    Raises:
        ValueError: for a space or settings that are not supported.

    >>> value_function = make_value_function(gym.spaces.Box(-1, 1, (3,)))
    >>> value_function(tf.zeros([5, 3])).shape.as_list()
    [5]
    """
    spaces.validate_observation_space(observation_space)
    check_size(observation_space, hidden_sizes, 1)
    torso = make_torso(
        observation_space, hidden_sizes, activation, normalize_observations, dtype, seed + 2000
    )
    value_function = ValueFunction(observation_space, torso, dtype, seed + 3000)
    build(value_function, observation_space)
    return value_function
