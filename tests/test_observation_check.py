"""Batches from outside: what is taken, in which dtypes, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from random_spaces import random_space, sample_batch

from trpo_tf.observation_check import check_observations

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
MultiDiscrete, MultiBinary = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
Dict, Tuple = gym.spaces.Dict, gym.spaces.Tuple
VECTOR = Box(-1, 1, (2,))
BYTES = Box(0, 255, (2,), np.uint8)


@pytest.mark.parametrize("seed", range(40))
def test_samples_pass_unchanged(seed: int) -> None:
    space = random_space(np.random.default_rng(seed), 3)
    _, batch = sample_batch(space, 4, seed)
    checked = check_observations(space, batch)
    tf.nest.assert_same_structure(checked, batch)
    for found, expected in zip(tf.nest.flatten(checked), tf.nest.flatten(batch), strict=True):
        assert isinstance(found, np.ndarray)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("space", "observations", "expected"),
    [
        (VECTOR, [[0, 1]], np.float32([[0, 1]])),
        (VECTOR, np.array([[0.25, 1]], np.float64), np.float32([[0.25, 1]])),
        (VECTOR, np.array([[True, False]]), np.float32([[1, 0]])),
        (VECTOR, [[7.0, np.nan]], np.float32([[7, np.nan]])),
        (VECTOR, np.zeros([0, 2]), np.zeros([0, 2], np.float32)),
        (BYTES, np.array([[0, 255]], np.int64), np.uint8([[0, 255]])),
        (Discrete(3, start=-1), [-1, 1], np.int64([-1, 1])),
        (Discrete(3, dtype=np.int8), np.array([2], np.int32), np.int8([2])),
        (MultiDiscrete([120, 3], start=[-100, 4], dtype=np.int8), [[19, 6]], np.int8([[19, 6]])),
        (MultiBinary(2), [[True, False]], np.int8([[1, 0]])),
        (Box(0, 1, (1,), np.bool_), [[True]], np.array([[True]])),
        (Box(-1, 1, ()), [0.5, 1.0], np.float32([0.5, 1])),
    ],
)
def test_what_stands_for_the_spaces_dtype(
    space: gym.Space, observations: Any, expected: np.ndarray
) -> None:
    checked = check_observations(space, observations)
    assert checked.dtype == expected.dtype
    np.testing.assert_array_equal(checked, expected)


@pytest.mark.parametrize(
    ("space", "observations", "message"),
    [
        (VECTOR, np.zeros([5, 3]), r"^observations must have shape \[N, 2\], got \[5, 3\]\.$"),
        (VECTOR, [0.5, 0.5], r"\[N, 2\], got \[2\]\. A single observation needs a leading batch"),
        (VECTOR, 0.5, r"must have shape \[N, 2\], got \[\]"),
        (Discrete(2), 1, r"must have shape \[N\], got \[\]\. A single observation needs"),
        (Discrete(2), [[1]], r"must have shape \[N\], got \[1, 1\]\."),
        (VECTOR, [[1, 2], [3]], "must be an array, got rows of different lengths"),
        (VECTOR, [["a", "b"]], "must be of dtype float32, got <U1"),
        (VECTOR, np.array([[None, 1]]), "must be of dtype float32, got object"),
        (VECTOR, np.ones([1, 2], complex), "must be of dtype float32, got complex128"),
        (VECTOR, None, r"must have shape \[N, 2\]"),
        (BYTES, [[0.5, 1.0]], "must be of dtype uint8, got float64"),
        (BYTES, [[0, 256]], "must fit into uint8, got numbers from 0 to 256"),
        (BYTES, [[-1, 0]], "must fit into uint8, got numbers from -1 to 0"),
        (Discrete(3, start=2), [2, 5], "must lie between 2 and 4, got numbers from 2 to 5"),
        (MultiDiscrete([2, 3]), [[1, -1]], r"must lie between \[0 0\] and \[1 2\], got numbers fr"),
        (Box(0, 1, (1,), np.bool_), [[1]], "must be of dtype bool, got int64"),
    ],
)
def test_what_is_refused(space: gym.Space, observations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_observations(space, observations)


def test_entries_are_named() -> None:
    space = Dict(camera=Tuple([VECTOR, Discrete(2)]), key=Discrete(2))
    good = {"camera": (np.zeros([3, 2]), [0, 1, 0]), "key": [0, 1, 1]}
    checked = check_observations(space, good)
    assert checked["camera"][0].dtype == np.float32
    with pytest.raises(ValueError, match=r"observations 'camera/1' must lie between 0 and 1"):
        check_observations(space, {**good, "camera": (np.zeros([3, 2]), [0, 2, 0])})
    with pytest.raises(ValueError, match=r"entries \['camera', 'key'\], got \['camera'\]"):
        check_observations(space, {"camera": good["camera"]})
    with pytest.raises(ValueError, match=r"number of rows, got {'camera/0': 3, .* 'key': 2}"):
        check_observations(space, {**good, "key": [0, 1]})
