"""Observations and seeds for a signature; more is tested through the policies that use it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.policy_inputs import checked_seeds, policy_inputs

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
