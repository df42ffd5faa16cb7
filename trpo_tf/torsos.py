"""From raw observations to features: flattening, normalisation and hidden layers in one layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from trpo_tf import spaces
from trpo_tf.normalizer import RunningNormalizer

# Filters, kernel and stride: the network of A3C (Mnih et al. 2016, section 8), small enough for
# natural gradients on a CPU; the second for images too small for it.
_CONVOLUTIONS = ((16, 8, 4), (32, 4, 2))
_SMALL_CONVOLUTIONS = ((16, 3, 1), (32, 3, 1))
_CONVOLUTION_FEATURES = 256
_SMALLEST_IMAGE = 20
# A GiB of float32, and as much again for each of a dozen vectors that an update works with.
_MOST_WEIGHTS = 2**28


def make_torso(
    observation_space: gym.Space,
    hidden_sizes: Sequence[int],
    activation: str,
    normalize_observations: bool,
    dtype: str,
    seed: int,
) -> keras.layers.Layer:
    """Picks the torso for a space: convolutions for images, a multi-layer perceptron otherwise.

    Raises:
        ValueError: if the space or `hidden_sizes` is not supported.
    """
    spaces.validate_observation_space(observation_space)
    if any(size < 1 for size in hidden_sizes):
        raise ValueError(f"hidden_sizes must all be >= 1, got {tuple(hidden_sizes)}.")
    if spaces.is_image(observation_space):
        return ConvolutionalTorso(observation_space, dtype=dtype, seed=seed)
    return VectorTorso(
        observation_space,
        hidden_sizes=hidden_sizes,
        activation=activation,
        normalize_observations=normalize_observations,
        dtype=dtype,
        seed=seed,
    )


def check_size(observation_space: gym.Space, hidden_sizes: Sequence[int], num_outputs: int) -> None:
    """Refuses networks that no machine trains, before anything is allocated for them.

    Raises:
        ValueError: if there would be more than 2^28 weights between layers.

    >>> check_size(gym.spaces.Box(-1, 1, (4,)), (2**14, 2**14), 1)
    Traceback (most recent call last):
    ValueError: a network of layers 4, 16384, 16384, 1 has 268517376 weights, more than 268435456...
    """
    size = spaces.flat_size(observation_space)
    layers = [size, *hidden_sizes, num_outputs]
    if spaces.is_image(observation_space):
        layers = [_most_features(observation_space), _CONVOLUTION_FEATURES, num_outputs]
    weights = sum(inputs * outputs for inputs, outputs in itertools.pairwise(layers))
    if weights > _MOST_WEIGHTS:
        shown = ", ".join(map(str, layers))
        raise ValueError(
            f"a network of layers {shown} has {weights} weights, more than {_MOST_WEIGHTS}. "
            "Choose smaller hidden_sizes, or wrap the environment to make its spaces smaller."
        )


def _most_features(image_space: gym.Space) -> int:
    """An upper bound of the numbers that the convolutions give for a picture."""
    first, middle, last = image_space.shape or (1, 1, 1)
    sides = middle, max(first, last)
    # Strides leave less than one number for each pixel; small pictures are not strided.
    filters = _SMALL_CONVOLUTIONS[-1][0] if min(sides) < _SMALLEST_IMAGE else 1
    return math.prod(sides) * filters


class VectorTorso(keras.layers.Layer):
    """Flattens as Gymnasium does, normalises what came from a Box, then dense layers.

    Weights are orthogonal with gain √2 (Engstrom et al. 2020 and every strong baseline).
    """

    def __init__(
        self,
        observation_space: gym.Space,
        hidden_sizes: Sequence[int],
        activation: str,
        normalize_observations: bool,
        dtype: str,
        seed: int,
    ) -> None:
        super().__init__(dtype=dtype, name="torso")
        self.observation_space = observation_space
        entries = spaces.continuous_entries(observation_space)
        self.normalizer = (
            RunningNormalizer(entries, dtype=dtype)
            if normalize_observations and entries.any()
            else None
        )
        self.hidden = [
            keras.layers.Dense(
                size,
                activation=activation,
                kernel_initializer=keras.initializers.Orthogonal(np.sqrt(2), seed=seed + index),
                dtype=dtype,
                name=f"hidden_{index}",
            )
            for index, size in enumerate(hidden_sizes)
        ]

    def build(self, input_shape: Any) -> None:
        """Creates the variables; the sizes follow from the observation space."""
        size = spaces.flat_size(self.observation_space)
        if self.normalizer is not None:
            self.normalizer.build((None, size))
        for layer in self.hidden:
            layer.build((None, size))
            size = layer.units
        self.built = True

    def call(self, observations: Any) -> Any:
        """Raw observations [N, *O] to features [N, F]."""
        features = self._flatten(observations)
        if self.normalizer is not None:
            features = self.normalizer(features)
        for layer in self.hidden:
            features = layer(features)
        return features

    def update_statistics(self, observations: Any, weights: Any) -> None:
        """Merges raw observations [M, *O] of weights [M] into the normaliser, if there is one."""
        if self.normalizer is not None:
            self.normalizer.update(self._flatten(observations), weights)

    def _flatten(self, observations: Any) -> Any:
        return spaces.flatten_observations(self.observation_space, observations, self.compute_dtype)


class ConvolutionalTorso(keras.layers.Layer):
    """Bytes scaled to [0, 1], two convolutions, one dense layer; channels first or last."""

    def __init__(self, observation_space: gym.Space, dtype: str, seed: int) -> None:
        super().__init__(dtype=dtype, name="torso")
        self.observation_space = observation_space
        height, width, _ = self._image_shape()
        small = min(height, width) < _SMALLEST_IMAGE
        self.convolutions = [
            keras.layers.Conv2D(
                filters,
                kernel,
                strides=stride,
                padding="same" if small else "valid",
                activation="relu",
                kernel_initializer=keras.initializers.Orthogonal(np.sqrt(2), seed=seed + index),
                data_format="channels_last",
                dtype=dtype,
                name=f"convolution_{index}",
            )
            for index, (filters, kernel, stride) in enumerate(
                _SMALL_CONVOLUTIONS if small else _CONVOLUTIONS
            )
        ]
        self.dense = keras.layers.Dense(
            _CONVOLUTION_FEATURES,
            activation="relu",
            kernel_initializer=keras.initializers.Orthogonal(np.sqrt(2), seed=seed + 2),
            dtype=dtype,
            name="dense",
        )

    def build(self, input_shape: Any) -> None:
        """Creates the variables; the sizes follow from the observation space."""
        shape = (None, *self._image_shape())
        for layer in self.convolutions:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.dense.build((None, int(np.prod(shape[1:]))))
        self.built = True

    def call(self, observations: Any) -> Any:
        """Images of bytes [N, *O] to features [N, F]."""
        images = spaces.image_channels_last(self.observation_space, observations)
        features = tf.cast(images, self.compute_dtype) / 255
        for layer in self.convolutions:
            features = layer(features)
        return self.dense(tf.reshape(features, [-1, int(np.prod(features.shape[1:]))]))

    def update_statistics(self, observations: Any, weights: Any) -> None:
        """Nothing: bytes have a scale of their own."""

    def _image_shape(self) -> tuple[int, int, int]:
        sample = np.zeros((1, *tuple(self.observation_space.shape or ())), np.uint8)
        return tuple(spaces.image_channels_last(self.observation_space, sample).shape[1:])
