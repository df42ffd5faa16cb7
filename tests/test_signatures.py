"""The traced functions of a served policy; what they answer is tested by test_saved_model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo

from trpo_tf.signatures import named_inputs, trace_signatures

tfd = tfp.distributions

SPACE = gym.spaces.Box(-1, 1, (3,))


class Handed(keras.Model):
    """A policy that is one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, observations: Any) -> Any:
        return self.function(observations)


def trace(function: Any, value_function: Any = None) -> dict[str, Any]:
    return trace_signatures(
        Handed(function), SPACE, SPACE, rescale_actions=False, value_function=value_function
    )


def normal(observations: Any) -> Any:
    return tfd.Independent(tfd.Normal(observations, 1.0), 1)


def test_values_are_served_only_with_a_value_function() -> None:
    assert list(trace(normal)) == ["serving_default", "sample", "distribution"]
    with_values = trace(normal, lambda observations: tf.reduce_sum(observations, -1))
    assert list(with_values) == ["serving_default", "sample", "distribution", "value"]


def test_inputs_have_the_names_of_the_observation_s_parts() -> None:
    observations = zoo.draw_observations("dict_observations", 2, seed=0)
    named = named_inputs(zoo.DICTIONARY, observations)
    assert list(named) == ["position", "mode", "nested_switches"]
    np.testing.assert_array_equal(named["nested_switches"], observations["nested"]["switches"])
    policy = zoo.make("dict_observations")
    signatures = trace_signatures(policy, zoo.DICTIONARY, zoo.TORQUES, rescale_actions=False)
    inputs = signatures["sample"].structured_input_signature[1]
    assert set(inputs) == {*named, "seeds"}


def test_an_observation_called_seeds_does_not_take_the_seeds_place() -> None:
    space = gym.spaces.Dict(seeds=SPACE)
    policy = Handed(lambda observations: normal(observations["seeds"]))
    signatures = trace_signatures(policy, space, SPACE, rescale_actions=False)
    inputs = signatures["sample"].structured_input_signature[1]
    assert inputs["seeds"].dtype == tf.int32
    assert len(inputs) == 2


def test_a_fixed_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="leading batch dimension of unknown size"):
        trace(lambda observations: normal(tf.reshape(observations, [5, 3])))


def test_values_without_a_row_each_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'values' of signature 'value' has shape \(\)"):
        trace(normal, tf.reduce_sum)


def test_dropout_in_the_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'serving_default' holds the stateful random op"):
        trace(lambda observations: normal(tf.nn.dropout(observations, 0.5)))
    with pytest.raises(ValueError, match="must be deterministic"):
        trace(
            lambda observations: normal(
                observations + tf.random.stateless_normal(tf.shape(observations), [1, 2])
            )
        )


def test_one_distribution_for_the_whole_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="batch shape"):
        trace(lambda observations: tfd.Normal(observations, 1.0))
