"""Rows of rollouts, against the models called on one row after the other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from long_forms import covering
from test_trpo import NUM_ENVS, NUM_ROWS, NUM_STEPS, make_parts, make_rollout

from trpo_tf.execution import Execution
from trpo_tf.rollout_rows import (
    critic_values,
    flat_rows,
    make_batch,
    target_log_probs,
    without_last,
)
from trpo_tf.types import AdvantageEstimate

CHUNKS_AND_KINDS = pytest.mark.parametrize(
    ("chunk_rows", "kind"),
    covering(
        [None, 1, 5, NUM_ROWS, 1000], ["image", "dict_observations", "categorical", "gaussian"]
    ),
)
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


def row(nest: Any, step: int, env: int) -> Any:
    """One row as a batch of one."""
    return tf.nest.map_structure(lambda part: tf.constant(part[step, env][None]), nest)


def one_by_one(function: Any, num_steps: int) -> np.ndarray:
    rows = [[function(step, env) for env in range(NUM_ENVS)] for step in range(num_steps)]
    return np.array(rows, np.float64).reshape(num_steps, NUM_ENVS)


@pytest.mark.parametrize("kind", ["gaussian", "dict_observations", "tuple_observations"])
def test_rows_are_those_of_a_loop_over_steps_and_environments(kind: str) -> None:
    observations = make_rollout(zoo.make(kind), 1, kind).observations
    found = flat_rows(without_last(observations))
    tf.nest.assert_same_structure(found, observations)
    for flat, part in zip(tf.nest.flatten(found), tf.nest.flatten(observations), strict=True):
        expected = [part[step, env] for step in range(NUM_STEPS) for env in range(NUM_ENVS)]
        np.testing.assert_array_equal(flat, np.stack(expected))
        assert flat.dtype == part.dtype


@CHUNKS_AND_KINDS
def test_log_probs_of_another_policy(chunk_rows: int | None, kind: str) -> None:
    behaviour, target = (zoo.make(kind, (4,), "float64", seed) for seed in (0, 3))
    rollout = make_rollout(behaviour, 2, kind)
    found = target_log_probs(target, rollout, chunk_rows)
    expected = one_by_one(
        lambda step, env: target(row(rollout.observations, step, env)).log_prob(
            row(rollout.actions, step, env)
        ),
        NUM_STEPS,
    )
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert not np.allclose(found, rollout.behaviour_log_probs, rtol=0.01)
    same = target_log_probs(behaviour, rollout, chunk_rows)
    np.testing.assert_allclose(same, rollout.behaviour_log_probs, rtol=1e-9)


@CHUNKS_AND_KINDS
def test_values(chunk_rows: int | None, kind: str) -> None:
    parts = make_parts(kind, "float64")
    rollout = make_rollout(parts.policy, 2, kind)
    found = critic_values(parts.value_function, rollout, chunk_rows)
    expected = one_by_one(
        lambda step, env: parts.value_function(row(rollout.observations, step, env)), NUM_STEPS + 1
    )
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@ALL_WAYS
def test_in_every_way_of_running(execution: Execution) -> None:
    parts = make_parts("dict_observations")
    rollout = make_rollout(parts.policy, 2, "dict_observations")
    tensors = tf.nest.map_structure(tf.constant, rollout)
    log_probs = execution.compile(lambda rows: target_log_probs(parts.policy, rows, 7))(tensors)
    values = execution.compile(lambda rows: critic_values(parts.value_function, rows, 7))(tensors)
    np.testing.assert_allclose(log_probs, target_log_probs(parts.policy, rollout), atol=1e-5)
    np.testing.assert_allclose(values, critic_values(parts.value_function, rollout), atol=1e-5)


def test_actions_of_another_width_are_taken() -> None:
    policy = zoo.make("gaussian", (4,), "float64")
    rollout = make_rollout(policy, 2)
    narrow = rollout._replace(actions=rollout.actions.astype(np.float32))
    np.testing.assert_allclose(
        target_log_probs(policy, narrow), rollout.behaviour_log_probs, rtol=1e-4
    )


def test_a_batch() -> None:
    rollout = make_rollout(zoo.make("gaussian"), 1)
    rng = np.random.default_rng(0)
    advantages, targets, ratios, weights = rng.normal(size=(4, NUM_STEPS, NUM_ENVS)).astype("f")
    estimate = AdvantageEstimate(advantages, targets)
    plain = make_batch(rollout, estimate)
    assert plain.importance_weights is None
    assert not rollout.mask.all()
    full = make_batch(rollout, estimate, ratios, weights)
    expected = {
        "observations": rollout.observations[:-1].reshape(NUM_ROWS, 3),
        "actions": rollout.actions.reshape(NUM_ROWS, 2),
        "advantages": advantages.ravel(),
        "behaviour_log_probs": rollout.behaviour_log_probs.ravel(),
        "weights": rollout.mask.ravel().astype(np.float32),
    }
    for name, rows in expected.items():
        np.testing.assert_array_equal(getattr(plain, name), rows)
        assert getattr(plain, name).dtype == rows.dtype
    expected |= {"importance_weights": ratios.ravel(), "weights": weights.ravel()}
    for name, rows in expected.items():
        np.testing.assert_array_equal(getattr(full, name), rows)


def test_a_batch_is_one_for_the_policy_step() -> None:
    parts = make_parts()
    rollout = make_rollout(parts.policy, 1)
    estimate = parts.advantage(rollout, critic_values(parts.value_function, rollout))
    assert parts.optimizer.step(parts.policy, make_batch(rollout, estimate)).accepted


def test_a_policy_without_a_distribution_is_refused() -> None:
    rollout = make_rollout(zoo.make("gaussian"), 1)
    policy = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(TypeError, match="distribution"):
        target_log_probs(policy, rollout)
