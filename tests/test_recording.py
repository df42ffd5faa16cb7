"""Arrays of one rollout: filled row by row, wrong answers of the environment refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.samplers.recording import Recording

SPECS = {
    "b": tf.TensorSpec([2, 3], tf.float64),
    "a": (tf.TensorSpec([2], tf.int64), tf.TensorSpec([2, 1], tf.uint8)),
}
FLAGS = np.zeros(2), np.zeros(2, bool), np.zeros(2, bool)


def observation(value):
    return {
        "a": (np.full(2, value), np.full([2, 1], value, np.uint8)),
        "b": np.full([2, 3], value, np.float64),
    }


def recording():
    return Recording(SPECS, tf.TensorSpec([2, 4], tf.float32), num_steps=2)


def test_rows_come_back_in_their_structure_and_dtypes():
    record = recording()
    record.start(observation(5))
    for row in range(2):
        flags = np.array([row == 1, False])
        record.add(row, np.full([2, 4], row), observation(6 + row), flags * 1.5, flags, ~flags)
    np.testing.assert_array_equal(record.observations["a"][0], [[5, 5], [6, 6], [7, 7]])
    assert record.observations["b"].shape == (3, 2, 3)
    assert [leaf.dtype for leaf in tf.nest.flatten(record.observations)] == [
        np.int64,
        np.uint8,
        np.float64,
    ]
    assert [leaf.flat[0] for leaf in record.leaves(1)] == [6, 6, 6]
    np.testing.assert_array_equal(record.actions[:, 0, 0], [0, 1])
    np.testing.assert_array_equal(record.rewards, [[0, 0], [1.5, 0]])
    np.testing.assert_array_equal(record.terminated, [[False, False], [True, False]])
    np.testing.assert_array_equal(record.truncated, [[True, True], [False, True]])


def test_wrong_answers_are_refused():
    record = recording()
    with pytest.raises(ValueError, match="a ndarray, are not structured like"):
        record.start(np.zeros([2, 3]))
    with pytest.raises(ValueError, match="a dict, are not structured like"):
        record.start({"b": np.zeros([2, 3])})
    wrong = observation(0)
    wrong["b"] = np.zeros([3])
    with pytest.raises(ValueError, match=r"observations of shape \[3\], but .* \[2, 3\]"):
        record.start(wrong)
    with pytest.raises(ValueError, match=r"observations of shape \[3\], but .* \[2, 3\]"):
        record.add(0, np.zeros([2, 4]), wrong, *FLAGS)
    with pytest.raises(ValueError, match=r"of shapes \[\[2, 1\], \[2\], \[2\]\], expected"):
        record.add(0, np.zeros([2, 4]), observation(0), np.zeros([2, 1]), *FLAGS[1:])
