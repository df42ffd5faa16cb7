"""Torsos against the same network written out in NumPy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from trpo_tf.execution import Execution
from trpo_tf.torsos import ConvolutionalTorso, VectorTorso, check_size, make_torso

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
SPACES = {
    "box": zoo.VECTOR,
    "dict": zoo.DICTIONARY,
    "tuple": zoo.TUPLE,
    "one": gym.spaces.Discrete(4),
}


def torso_for(
    space: gym.Space,
    sizes: tuple[int, ...] = (5, 4),
    normalize: bool = True,
    dtype: str = "float64",
) -> keras.layers.Layer:
    torso = make_torso(space, sizes, "tanh", normalize, dtype, seed=0)
    torso.build(None)
    return torso


def draw(space: gym.Space, num_rows: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    """A batch, and its rows as Gymnasium flattens them."""
    space.seed(seed)
    rows = [space.sample() for _ in range(num_rows)]
    flat = np.stack([np.asarray(gym.spaces.flatten(space, row), np.float64) for row in rows])
    return tf.nest.map_structure(lambda *parts: np.stack(parts), *rows), flat


def layers(torso: keras.layers.Layer, features: np.ndarray) -> np.ndarray:
    for layer in torso.hidden:
        features = np.tanh(features @ layer.kernel.numpy() + layer.bias.numpy())
    return features


@ALL_WAYS
@pytest.mark.parametrize("name", SPACES)
def test_flattens_then_dense_layers(execution: Execution, name: str) -> None:
    torso = torso_for(SPACES[name], normalize=False)
    observations, flat = draw(SPACES[name], 6)
    features = execution.compile(torso)(tf.nest.map_structure(tf.constant, observations))
    np.testing.assert_allclose(features, layers(torso, flat), rtol=1e-6, atol=1e-7)
    assert features.shape == (6, 4)


@ALL_WAYS
def test_normalises_what_came_from_a_box(execution: Execution) -> None:
    torso = torso_for(zoo.DICTIONARY)
    observations, flat = draw(zoo.DICTIONARY, 50)
    weights = np.random.default_rng(0).choice([0.0, 1.0], size=50)
    execution.compile(torso.update_statistics)(
        tf.nest.map_structure(tf.constant, observations), tf.constant(weights)
    )
    is_box = np.concatenate(
        [
            np.full(gym.spaces.flatdim(part), isinstance(part, gym.spaces.Box))
            for part in zoo.DICTIONARY.spaces.values()
        ]
    )
    assert is_box.sum() == 2
    seen = flat[weights > 0]
    normalised = (flat - seen.mean(axis=0)) / np.sqrt(seen.var(axis=0) + 1e-8)
    expected = layers(torso, np.where(is_box, normalised, flat))
    np.testing.assert_allclose(torso(observations), expected, rtol=1e-5, atol=1e-6)


def test_no_box_no_normaliser() -> None:
    assert torso_for(gym.spaces.Discrete(4)).normalizer is None
    assert torso_for(zoo.VECTOR, normalize=False).normalizer is None


def test_no_hidden_layer() -> None:
    torso = torso_for(zoo.VECTOR, sizes=(), normalize=False)
    rows, flat = draw(zoo.VECTOR, 3)
    np.testing.assert_allclose(torso(rows), flat, rtol=1e-6)
    assert torso.trainable_variables == []


def test_orthogonal_weights_of_gain_root_two() -> None:
    torso = torso_for(gym.spaces.Box(-1, 1, (8,)), sizes=(8, 8))
    for layer in torso.hidden:
        gram = layer.kernel.numpy() @ layer.kernel.numpy().T
        np.testing.assert_allclose(gram, 2 * np.eye(8), atol=1e-5)
        np.testing.assert_array_equal(layer.bias, np.zeros(8))
    assert np.any(torso.hidden[0].kernel.numpy() != torso.hidden[1].kernel.numpy())


def convolve(images: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    """Cross-correlation and relu, one output entry at a time."""
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    size, stride = kernel.shape[0], layer.strides[0]
    if layer.padding == "same":
        assert stride == 1
        images = np.pad(images, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    height, width = ((length - size) // stride + 1 for length in images.shape[1:3])
    out = np.zeros((len(images), height, width, kernel.shape[-1]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = images[:, top : top + size, left : left + size]
            out[:, row, column] = np.tensordot(patch, kernel, axes=3) + bias
    return np.maximum(out, 0)


@ALL_WAYS
@pytest.mark.parametrize("shape", [(2, 36, 40), (36, 40, 1), (12, 10, 3), (3, 12, 10), (5, 5, 5)])
def test_pictures(execution: Execution, shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    torso = torso_for(space)
    assert isinstance(torso, ConvolutionalTorso)
    images = np.random.default_rng(0).integers(0, 256, size=(2, *shape)).astype(np.uint8)
    features = execution.compile(torso)(tf.constant(images))
    channels_last = np.moveaxis(images, 1, 3) if shape[0] < shape[-1] else images
    expected = channels_last.astype(np.float64) / 255
    for layer in torso.convolutions:
        expected = convolve(expected, layer)
    expected = expected.reshape(2, -1) @ torso.dense.kernel.numpy() + torso.dense.bias.numpy()
    np.testing.assert_allclose(features, np.maximum(expected, 0), rtol=1e-5, atol=1e-6)
    assert features.dtype == "float64"


def test_picture_statistics_are_no_statistics() -> None:
    torso = torso_for(zoo.IMAGE)
    torso.update_statistics(np.zeros((2, 8, 8, 2), np.uint8), np.ones(2))
    assert torso.non_trainable_variables == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("space", [zoo.VECTOR, zoo.DICTIONARY, zoo.IMAGE])
def test_dtypes(space: gym.Space, dtype: str) -> None:
    torso = torso_for(space, dtype=dtype)
    observations, _ = draw(space, 2)
    assert torso(observations).dtype == dtype
    assert {variable.dtype for variable in torso.variables} == {dtype}


def test_seeds() -> None:
    kernels = [make_torso(zoo.VECTOR, (4,), "tanh", True, "float32", seed) for seed in (0, 0, 1)]
    for torso in kernels:
        torso.build(None)
    first, again, other = (torso.hidden[0].kernel.numpy() for torso in kernels)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_which_torso() -> None:
    assert isinstance(torso_for(zoo.IMAGE), ConvolutionalTorso)
    for space in (
        zoo.VECTOR,
        zoo.TUPLE,
        gym.spaces.Box(0, 255, (8, 8), np.uint8),
        gym.spaces.Box(0, 1, (8, 8, 3), np.float32),
    ):
        assert isinstance(torso_for(space), VectorTorso)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"hidden_sizes must all be >= 1, got \(4, 0\)"):
        torso_for(zoo.VECTOR, sizes=(4, 0))
    with pytest.raises(ValueError, match="not supported"):
        torso_for(gym.spaces.Text(5))


@pytest.mark.parametrize("shape", [(16, 4096, 3), (3, 4096, 16), (4096, 16, 3)])
def test_small_pictures_that_are_too_large_are_refused(shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    with pytest.raises(ValueError, match=r"2097152, 256, 1 has \d+ weights, more than 268435456"):
        check_size(space, (), 1)
    check_size(gym.spaces.Box(0, 255, (16, 1024, 3), np.uint8), (), 1)
