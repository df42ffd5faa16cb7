"""Value functions: their shape, and a scale that changes without changing a value."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import zoo

from trpo_tf.execution import Execution
from trpo_tf.value_function import make_value_function

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


def draw(kind: str, dtype: str, num_rows: int = 5) -> Any:
    rows = zoo.draw_observations(kind, num_rows, seed=0, dtype=dtype)
    return tf.nest.map_structure(tf.constant, rows)


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["gaussian", "dict_observations", "tuple_observations", "image"])
def test_one_value_for_each_row(execution: Execution, dtype: str, kind: str) -> None:
    space = zoo.KINDS[kind].observation_space
    critic = make_value_function(space, hidden_sizes=(4,), dtype=dtype)
    observations = draw(kind, dtype)
    critic.output_scale.assign(3.0)
    values = execution.compile(critic)(observations)
    assert values.shape == (5,)
    assert values.dtype == dtype
    kernel, bias = critic.values.kernel.numpy(), critic.values.bias.numpy()
    expected = 3 * (critic.torso(observations).numpy() @ kernel + bias)[:, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_new_scale_keeps_the_values(execution: Execution, dtype: str) -> None:
    critic = make_value_function(zoo.VECTOR, dtype=dtype)
    critic.values.bias.assign([0.7])
    observations = draw("gaussian", dtype)
    before = critic(observations).numpy()
    kernel = critic.values.kernel.numpy()
    for scale in (7.0, 0.003, 1e4):
        execution.compile(critic.set_output_scale)(tf.constant(scale, dtype))
        np.testing.assert_allclose(critic(observations), before, rtol=1e-5)
        assert critic.output_scale == tf.constant(scale, dtype)
        np.testing.assert_allclose(critic.values.kernel, kernel / scale, rtol=1e-5)


def test_the_same_scale_changes_no_bit() -> None:
    critic = make_value_function(zoo.VECTOR)
    critic.set_output_scale(7.3)
    before = critic.get_weights()
    critic.set_output_scale(7.3)
    for old, new in zip(before, critic.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_scale_is_not_trained_and_the_rest_is() -> None:
    critic = make_value_function(zoo.VECTOR)
    assert len(critic.non_trainable_variables) == 4
    assert len(critic.trainable_variables) == 6
    assert all(v is not critic.output_scale for v in critic.trainable_variables)


def test_update_statistics() -> None:
    critic = make_value_function(zoo.VECTOR)
    rows = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    critic.update_statistics(rows, np.ones(10, np.float32))
    np.testing.assert_allclose(critic.torso.normalizer.mean, rows.mean(axis=0), rtol=1e-4)


def test_it_shares_no_weights_with_a_policy_of_the_same_seed() -> None:
    policy = zoo.KINDS["gaussian"].make((64, 64), "float32", 0)
    critic = make_value_function(zoo.VECTOR, seed=0)
    assert np.any(policy.torso.hidden[1].kernel.numpy() != critic.torso.hidden[1].kernel.numpy())


def test_a_small_critic_and_a_refused_one() -> None:
    critic = make_value_function(zoo.VECTOR, hidden_sizes=(), normalize_observations=False)
    assert [tuple(v.shape) for v in critic.trainable_variables] == [(3, 1), (1,)]
    with pytest.raises(ValueError, match="not supported"):
        make_value_function(gym.spaces.Text(3))
