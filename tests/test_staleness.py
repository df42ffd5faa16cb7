"""Measures of staleness against their definitions and against exact expectations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.staleness import (
    behaviour_kl,
    effective_max_kl,
    effective_sample_size,
    importance_ratio,
)

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@ALL_WAYS
@DTYPES
def test_ratio(execution: Execution, dtype: str) -> None:
    target = tf.constant([math.log(0.2), math.log(0.6), -3.7], dtype)
    behaviour = tf.constant([math.log(0.4), math.log(0.3), -3.7], dtype)
    ratio = execution.compile(importance_ratio)(target, behaviour)
    np.testing.assert_allclose(ratio, [0.2 / 0.4, 0.6 / 0.3, 1], rtol=1e-6)
    assert ratio[2] == 1
    assert ratio.dtype == dtype


@ALL_WAYS
@DTYPES
def test_behaviour_kl_is_exact_in_expectation(execution: Execution, dtype: str) -> None:
    behaviour, target = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.25, 0.35])
    measured = execution.compile(behaviour_kl)(
        tf.constant(np.log(target), dtype),
        tf.constant(np.log(behaviour), dtype),
        tf.constant(behaviour, dtype),
    )
    expected = sum(b * math.log(b / t) for b, t in zip(behaviour, target, strict=True))
    np.testing.assert_allclose(measured, expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@ALL_WAYS
def test_behaviour_kl_on_policy_is_zero(execution: Execution) -> None:
    log_probs = tf.random.stateless_normal([50], seed=[0, 0])
    assert float(execution.compile(behaviour_kl)(log_probs, log_probs, tf.ones([50]))) == 0.0


@ALL_WAYS
def test_behaviour_kl_ignores_rows_of_no_weight(execution: Execution) -> None:
    target = tf.constant([0.1, np.nan, np.inf, -0.2])
    weights = tf.constant([1.0, 0, 0, 3.0])
    measured = execution.compile(behaviour_kl)(target, tf.zeros([4]), weights)
    expected = (1 * (math.exp(0.1) - 1 - 0.1) + 3 * (math.exp(-0.2) - 1 + 0.2)) / 4
    np.testing.assert_allclose(measured, expected, rtol=1e-5)
    assert float(behaviour_kl(target, tf.zeros([4]), tf.zeros([4]))) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_behaviour_kl_is_never_negative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.normal(size=30) * 10.0 ** rng.uniform(-8, 0.5)
    target = tf.constant(differences, tf.float32)
    assert float(behaviour_kl(target, tf.zeros([30]), tf.ones([30]))) >= 0


@ALL_WAYS
@DTYPES
@pytest.mark.parametrize("travelled", [0.0, 1e-8, 1e-4, 0.01, 0.3, 10.0])
def test_effective_max_kl(execution: Execution, dtype: str, travelled: float) -> None:
    max_kl = 0.01
    left = execution.compile(effective_max_kl)(
        tf.constant(max_kl, dtype), tf.constant(travelled, dtype)
    )
    expected = max_kl - (math.sqrt(travelled * (max_kl + travelled / 4)) - travelled / 2)
    np.testing.assert_allclose(left, expected, rtol=1e-5, atol=2e-9)


@ALL_WAYS
@DTYPES
def test_effective_max_kl_at_the_ends(execution: Execution, dtype: str) -> None:
    max_kl = tf.constant(0.01, dtype)
    compiled = execution.compile(effective_max_kl)
    assert compiled(max_kl, tf.constant(0, dtype)) == max_kl
    for far in (1e4, 1e6, 1e30, np.inf):
        left = float(compiled(max_kl, tf.constant(far, dtype)))
        assert 0 <= left <= 2 * 0.01**2 / far + 2e-9


def test_effective_max_kl_falls_with_the_distance() -> None:
    left = effective_max_kl(
        tf.constant(0.01), tf.constant(np.geomspace(1e-9, 1e9, 200), tf.float32)
    )
    assert np.all(np.diff(left) <= 0)


@ALL_WAYS
@DTYPES
def test_effective_sample_size(execution: Execution, dtype: str) -> None:
    ratio = np.array([1.0, 2.0, np.nan, 0.5])
    weights = np.array([1.0, 1.0, 0.0, 1.0])
    measured = execution.compile(effective_sample_size)(
        tf.constant(ratio, dtype), tf.constant(weights, dtype)
    )
    np.testing.assert_allclose(measured, (1 + 2 + 0.5) ** 2 / (3 * (1 + 4 + 0.25)), rtol=1e-6)


@ALL_WAYS
def test_effective_sample_size_at_the_ends(execution: Execution) -> None:
    compiled = execution.compile(effective_sample_size)
    assert float(compiled(tf.ones([7]), tf.ones([7]))) == 1.0
    assert float(compiled(tf.ones([7]), tf.zeros([7]))) == 0.0
    one_of_seven = tf.one_hot(2, 7)
    np.testing.assert_allclose(compiled(one_of_seven, tf.ones([7])), 1 / 7, rtol=1e-6)
