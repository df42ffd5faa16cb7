"""A model as a function of its variables' values."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf import functional
from trpo_tf.policies import make_policy
from trpo_tf.value_function import make_value_function

_OBSERVATIONS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(4, 3)
_SPACE = gym.spaces.Box(-2, 2, (3,))


def test_own_values_give_the_models_own_output():
    model = make_value_function(_SPACE)
    outputs = functional.apply(model, functional.parameters(model), _OBSERVATIONS)
    np.testing.assert_array_equal(outputs, model(_OBSERVATIONS))


def test_other_values_are_used_and_nothing_is_assigned():
    model = make_value_function(_SPACE)
    before = [value.numpy() for value in functional.parameters(model)]
    zeros = [tf.zeros_like(value) for value in functional.parameters(model)]
    np.testing.assert_array_equal(functional.apply(model, zeros, _OBSERVATIONS), np.zeros(4))
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_other_statistics_are_used():
    policy = make_policy(_SPACE, gym.spaces.Discrete(2))
    policy.update_statistics(_OBSERVATIONS, np.ones(4, np.float32))
    identity = [np.float32(0), np.zeros(3, np.float32), np.ones(3, np.float32)]
    parameters = functional.parameters(policy)
    own = functional.apply(policy, parameters, _OBSERVATIONS).logits
    other = functional.apply(policy, parameters, _OBSERVATIONS, identity).logits
    assert np.abs(own - other).max() > 1e-4


def test_assign_writes_in_the_variables_order():
    model = make_value_function(_SPACE)
    values = [value + 1 for value in functional.parameters(model)]
    functional.assign(model, values)
    for variable, value in zip(model.trainable_variables, values, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_inputs_keep_whole_numbers_and_cast_floats():
    assert functional.as_inputs(np.ones(2, np.float64), "float32").dtype == tf.float32
    assert functional.as_inputs(np.ones(2, np.int64), "float32").dtype == tf.int64
