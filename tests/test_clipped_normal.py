"""The likelihood of actions that are clipped, against quadrature and the error function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.distribution_parameters import class_name, in_float64, named_parameters
from trpo_tf.draws import draw_rows
from trpo_tf.execution import Execution

tfd = tfp.distributions
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
LOW, HIGH = -0.4, 1.0
# Fine enough that sums over them are integrals.
GRID = np.linspace(-8, 8, 160_001)


def normal_density(x: Any, mean: float, deviation: float) -> Any:
    return np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


def tail(distance: float) -> float:
    """The mass of a standard normal beyond a distance."""
    return math.erfc(distance / math.sqrt(2)) / 2


@ALL_WAYS
def test_log_probabilities(execution: Execution) -> None:
    mean, deviation = 0.3, 0.7
    drawn = np.array([-5, LOW - 1e-6, LOW + 1e-6, 0.3, HIGH - 1e-6, HIGH, 3.0])
    distribution = ClippedNormal(np.full(7, mean), np.full(7, deviation), LOW, HIGH)
    found = execution.compile(lambda x: distribution.log_prob(x))(tf.constant(drawn))
    below, above = tail((mean - LOW) / deviation), tail((HIGH - mean) / deviation)
    density = normal_density(drawn, mean, deviation)
    expected = [below, below, *density[2:5], above, above]
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-9)


def scores(x: np.ndarray, mean: float, deviation: float, low: float, high: float) -> np.ndarray:
    """d log p / d (mean, deviation) of each x, [N, 2]."""
    parameters = tf.constant([mean, deviation], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        rows = tf.repeat(parameters[tf.newaxis], len(x), axis=0)
        tape.watch(rows)
        log_probs = ClippedNormal(rows[:, 0], rows[:, 1], low, high).log_prob(tf.constant(x))
    gradient: np.ndarray = tape.gradient(log_probs, rows).numpy()
    return gradient


@pytest.mark.parametrize("mean", [0.3, 1.7, -2.0])
def test_the_policy_gradient_is_the_same_with_less_variance(mean: float) -> None:
    """E[f(clip a) ∇ log p(a)] is the gradient of E[f(clip a)], and so is the normal's own."""
    deviation = 0.7
    worth = np.sin(3 * np.clip(GRID, LOW, HIGH))
    weights = normal_density(GRID, mean, deviation) * (GRID[1] - GRID[0])

    def expectation(mean: float, deviation: float) -> float:
        return float(np.sum(worth * normal_density(GRID, mean, deviation)) * (GRID[1] - GRID[0]))

    step = 1e-4
    expected = [
        (expectation(mean + step, deviation) - expectation(mean - step, deviation)) / (2 * step),
        (expectation(mean, deviation + step) - expectation(mean, deviation - step)) / (2 * step),
    ]
    moments = {}
    for name, (low, high) in {"clipped": (LOW, HIGH), "normal": (-np.inf, np.inf)}.items():
        rows = worth[:, np.newaxis] * scores(GRID, mean, deviation, low, high)
        moments[name] = weights @ rows, weights @ rows**2
        np.testing.assert_allclose(moments[name][0], expected, atol=2e-4)
    assert np.all(moments["clipped"][1] < moments["normal"][1])


def test_without_bounds_it_is_a_normal_with_finite_gradients() -> None:
    x = np.linspace(-3, 3, 13)
    clipped = ClippedNormal(np.float64([0.3]), np.float64([0.7]), -np.inf, np.inf)
    normal = tfd.Normal(np.float64([0.3]), np.float64([0.7]))
    np.testing.assert_array_equal(clipped.log_prob(x), normal.log_prob(x))
    expected = np.stack([(x - 0.3) / 0.49, ((x - 0.3) ** 2 / 0.49 - 1) / 0.7], axis=1)
    np.testing.assert_allclose(scores(x, 0.3, 0.7, -np.inf, np.inf), expected, atol=1e-12)


@ALL_WAYS
@pytest.mark.parametrize("mean", [-50.0, 50.0])
def test_far_beyond_a_bound_all_is_finite(execution: Execution, mean: float) -> None:
    """In float32, a hundred deviations away, on either side of the draws."""

    def evaluate(loc: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(loc)
            distribution = ClippedNormal(loc, tf.constant(0.5), -1.0, 1.0)
            log_probs = distribution.log_prob(tf.constant([-60.0, -1.0, 0.0, 1.0, 60.0]))
        return log_probs, tape.gradient(log_probs, loc)

    log_probs, gradient = execution.compile(evaluate)(tf.fill([5], mean))
    assert np.all(np.isfinite(log_probs))
    assert np.all(np.isfinite(gradient))
    # All that is clipped to the near bound is certain, and tells nothing about the mean.
    near = slice(0, 2) if mean < 0 else slice(3, 5)
    np.testing.assert_allclose(log_probs[near], 0, atol=1e-6)
    np.testing.assert_allclose(gradient[near], 0, atol=1e-6)


@ALL_WAYS
@pytest.mark.parametrize(("bound", "scale"), [(1e10, 0.5), (3.4e38, 0.5), (1.0, 1e-10)])
def test_bounds_that_are_nowhere_near_spoil_no_gradient(
    execution: Execution, bound: float, scale: float
) -> None:
    """What is not taken must be finite, too: beyond 1e10 deviations TFP's gradient is NaN."""

    def evaluate(loc: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(loc)
            distribution = ClippedNormal(loc, tf.constant(scale), -bound, bound)
            log_prob = distribution.log_prob(loc + scale * tf.constant([-1.0, 2.0]))
        return log_prob, tape.gradient(log_prob, loc)

    log_probs, gradient = execution.compile(evaluate)(tf.constant([0.0, 0.0]))
    drawn = scale * np.float32([-1, 2])
    np.testing.assert_allclose(log_probs, tfd.Normal(0.0, scale).log_prob(drawn), rtol=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_draw_that_is_not_finite_has_no_finite_log_probability(value: float) -> None:
    for low, high in ((-1.0, 1.0), (-np.inf, np.inf), (0.0, np.inf)):
        assert not np.isfinite(ClippedNormal(0.0, 1.0, low, high).log_prob(value))


def test_what_is_executed_diverges_less_than_what_is_drawn() -> None:
    old, new = ((0.3, 0.7), (0.9, 0.5))
    drawn = float(
        ClippedNormal(*old, LOW, HIGH).kl_divergence(ClippedNormal(*new, LOW, HIGH)).numpy()
    )
    exact = math.log(0.5 / 0.7) + (0.7**2 + 0.6**2) / (2 * 0.5**2) - 0.5
    assert drawn == pytest.approx(exact, rel=1e-5)

    def masses(mean: float, deviation: float) -> list[float]:
        inside = GRID[(GRID > LOW) & (GRID < HIGH)]
        densities = normal_density(inside, mean, deviation) * (GRID[1] - GRID[0])
        below, above = tail((mean - LOW) / deviation), tail((HIGH - mean) / deviation)
        return [below, above, *densities]

    executed = sum(p * math.log(p / q) for p, q in zip(masses(*old), masses(*new), strict=True))
    assert 0 < executed < drawn


def test_draws_entropy_and_parameters_are_the_normals() -> None:
    loc, scale = np.float32([[0.3, 5.0]] * 3), np.float32([[0.7, 0.1]] * 3)
    clipped, normal = (
        tfd.Independent(made, 1)
        for made in (ClippedNormal(loc, scale, [-1, -1], [1, np.inf]), tfd.Normal(loc, scale))
    )
    seeds = tf.constant([[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(draw_rows(clipped, seeds), draw_rows(normal, seeds))
    np.testing.assert_array_equal(clipped.entropy(), normal.entropy())
    assert list(named_parameters(clipped, 3)) == ["loc", "scale"]
    assert class_name(clipped) == "Independent(ClippedNormal)"


def test_bounds_are_kept_where_it_is_cut_widened_or_put_together_again() -> None:
    loc = np.float32([[0.3, 5.0]] * 3)
    whole = tfd.Independent(ClippedNormal(loc, np.ones_like(loc), [-1, -2], [1, np.inf]), 1)
    drawn = np.float32([[9, -9]] * 3)
    (wide,) = in_float64(whole)
    parts = tf.nest.flatten(whole, expand_composites=True)
    again = tf.nest.pack_sequence_as(whole, parts, expand_composites=True)
    for other, rows in ((whole[1:], drawn[1:]), (wide, drawn.astype(float)), (again, drawn)):
        expected = math.log(tail(0.7)) + math.log(tail(7.0))
        np.testing.assert_allclose(other.log_prob(rows), expected, rtol=1e-5)
    assert tf.type_spec_from_value(whole) == tf.type_spec_from_value(again)
