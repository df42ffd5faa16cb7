"""Observations and seeds for a signature; more is tested through the policies that use it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.policy_inputs import checked_array, checked_seeds, policy_inputs

SPECS = {"a": tf.TensorSpec([None, 2], tf.float32), "seeds": tf.TensorSpec([None, 2], tf.int32)}


def test_batches_and_single_observations_of_a_space() -> None:
    space = gym.spaces.Dict(a=gym.spaces.Box(0, 1, (2,)), b=gym.spaces.Discrete(3))
    inputs, single = policy_inputs(space, {}, {"a": [[0, 1]], "b": [2]})
    assert not single
    assert inputs["a"].dtype == np.float32
    inputs, single = policy_inputs(space, {}, {"a": [0, 1], "b": 2})
    assert single
    assert (inputs["a"].shape, inputs["b"].shape) == ((1, 2), (1,))
    with pytest.raises(ValueError, match="must lie between 0 and 2"):
        policy_inputs(space, {}, {"a": [0, 1], "b": 3})


def test_without_a_space_the_names_are_those_of_the_signature() -> None:
    inputs, single = policy_inputs(None, SPECS, [[1, 2]])
    assert not single
    assert inputs["a"].dtype == np.float32
    assert policy_inputs(None, SPECS, {"a": [1, 2]})[1]
    with pytest.raises(ValueError, match=r"the model takes \['a'\], got \['b'\]"):
        policy_inputs(None, SPECS, {"b": [1, 2]})
    with pytest.raises(ValueError, match="must have shape"):
        policy_inputs(None, SPECS, [[1, 2, 3]])


def test_seeds_are_whole_numbers_of_32_bits_one_pair_a_row() -> None:
    assert checked_seeds([[1, 2], [3, 4]], 2, single=False).dtype == np.int32
    assert checked_seeds([1, 2], 1, single=True).shape == (1, 2)
    for seeds, message in (([[1, 2]], "of shape"), ([[1.0, 2], [3, 4]], "whole"), (None, "whole")):
        with pytest.raises(ValueError, match=message):
            checked_seeds(seeds, 2, single=False)
    with pytest.raises(ValueError, match="must fit into int32"):
        checked_seeds([[1, 2], [3, 2**31]], 2, single=False)


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([0.5], np.int32, "x must be of dtype int32, got float64"),
        ([1.0], np.uint8, "x must be of dtype uint8, got float64"),
        ([256, -1], np.uint8, "x must fit into uint8, got numbers from -1 to 256"),
        ([1], np.bool_, "x must be of dtype bool, got int64"),
        (["a"], np.float32, "x must be of dtype float32"),
    ],
)
def test_values_that_would_become_others_are_refused(values, dtype, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_array("x", values, dtype)
    specs = {"x": tf.TensorSpec([None], dtype)}
    with pytest.raises(ValueError, match=message):
        policy_inputs(None, specs, {"x": values})


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], np.uint8),
        ([True], np.float32),
        ([True], np.int8),
        ([], np.int32),
        (["a"], object),
    ],
)
def test_values_that_stay_as_they_are_are_taken(values, dtype) -> None:
    assert checked_array("x", values, dtype).tolist() == values
