"""Passes over a batch against sums written out for a table of softmax policies."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf.batch_passes import BatchPasses, _spread_indices, move
from trpo_tf.types import Batch

tfd = tfp.distributions

STATES, ACTIONS, ROWS = 3, 4, 20
CHUNKS = pytest.mark.parametrize("chunk_rows", [None, 7, 1])


def softmax_policy(values, observations):
    (table,) = values
    return tfd.Categorical(logits=tf.gather(table, tf.cast(observations[:, 0], tf.int32)))


class Case:
    """A random batch in which some rows count for nothing and hold nonsense."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.normal(size=(STATES, ACTIONS))
        self.states = rng.integers(STATES, size=ROWS)
        self.actions = rng.integers(ACTIONS, size=ROWS)
        self.advantages = rng.normal(size=ROWS)
        self.weights = rng.integers(0, 3, size=ROWS).astype(float)
        self.counted = self.weights > 0
        self.start = [tf.constant(self.table)]

    def passes(self, chunk_rows: int | None) -> BatchPasses:
        observations = self.states[:, np.newaxis].astype(float)
        observations[~self.counted] = 0.0
        batch = Batch(
            observations=tf.constant(observations),
            actions=tf.constant(np.where(self.counted, self.actions, -5), tf.int32),
            advantages=tf.constant(np.where(self.counted, self.advantages, np.nan)),
            behaviour_log_probs=tf.zeros([ROWS], tf.float64),
            weights=tf.constant(self.weights),
        )
        passes = BatchPasses(softmax_policy, batch, chunk_rows)
        passes.set_coefficients(batch.advantages)
        return passes

    def probabilities(self, table: np.ndarray) -> np.ndarray:
        """π(·|s) on every row."""
        numbers = np.exp(table - table.max(1, keepdims=True))
        return (numbers / numbers.sum(1, keepdims=True))[self.states]

    def scale(self) -> float:
        return np.abs(self.weights * self.advantages).max()


def test_the_mean_is_over_rows_that_count():
    case = Case()
    rows = np.where(case.counted, case.weights * case.advantages, np.nan)
    expected = rows[case.counted].sum() / case.weights.sum()
    np.testing.assert_allclose(case.passes(None).mean(tf.constant(rows)), expected)


def test_coefficients_are_at_most_one():
    case = Case()
    passes = case.passes(None)
    scale = passes.set_coefficients(tf.constant(1e6 * case.advantages))
    np.testing.assert_allclose(scale, 1e6 * case.scale())
    expected = case.weights * case.advantages / case.scale()
    np.testing.assert_allclose(passes.rows.coefficients, expected)


def test_coefficients_of_nothing_are_nothing():
    passes = Case().passes(None)
    assert float(passes.set_coefficients(tf.zeros([ROWS], tf.float64))) == 0.0
    np.testing.assert_array_equal(passes.rows.coefficients, np.zeros(ROWS))


@CHUNKS
def test_the_old_policy_on_every_row(chunk_rows):
    case = Case()
    old = case.passes(chunk_rows).old(case.start)
    probabilities = case.probabilities(case.table)
    log_probs = np.log(probabilities[np.arange(ROWS), case.actions])
    entropies = -(probabilities * np.log(probabilities)).sum(1)
    np.testing.assert_allclose(old.log_probs[case.counted], log_probs[case.counted])
    np.testing.assert_allclose(old.entropies[case.counted], entropies[case.counted])
    assert (old.components == []) == (chunk_rows is not None)


@CHUNKS
def test_the_gradient_is_the_mean_score_times_advantage(chunk_rows):
    case = Case()
    scores = np.eye(ACTIONS)[case.actions] - case.probabilities(case.table)
    expected = np.zeros((STATES, ACTIONS))
    for row in range(ROWS):
        factor = case.weights[row] * case.advantages[row] / case.scale()
        expected[case.states[row]] += factor * scores[row] / case.weights.sum()
    gradient = case.passes(chunk_rows).gradient(case.start)
    np.testing.assert_allclose(gradient, expected.ravel(), atol=1e-14)


@CHUNKS
@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_fisher_products_are_those_of_the_blocks_of_states(chunk_rows, fraction):
    case = Case()
    chosen = range(ROWS) if fraction == 1.0 else _spread_indices(ROWS, fraction)
    probabilities = case.probabilities(case.table)
    blocks = np.zeros((STATES, ACTIONS, ACTIONS))
    for row in chosen:
        p = probabilities[row]
        blocks[case.states[row]] += case.weights[row] * (np.diag(p) - np.outer(p, p))
    blocks /= sum(case.weights[row] for row in chosen)
    vector = np.random.default_rng(1).normal(size=(STATES, ACTIONS))
    expected = np.einsum("sij,sj->si", blocks, vector).ravel()
    product = case.passes(chunk_rows).fisher(case.start, fraction)
    np.testing.assert_allclose(product(tf.constant(vector.ravel())), expected, atol=1e-13)


@CHUNKS
def test_a_candidate_is_measured_as_it_is(chunk_rows):
    case = Case()
    direction = np.random.default_rng(2).normal(size=(STATES, ACTIONS))
    step = 0.3
    before = case.probabilities(case.table)
    after = case.probabilities(case.table + step * direction)
    weights = case.weights / case.weights.sum()
    kl = (weights * (before * np.log(before / after)).sum(1)).sum()
    ratios = (after / before)[np.arange(ROWS), case.actions]
    gain = (weights * case.advantages / case.scale() * (ratios - 1)).sum()
    passes = case.passes(chunk_rows)
    old = passes.old(case.start)
    candidate = passes.measure(
        case.start, tf.constant(direction.ravel()), tf.constant(step, tf.float64), old
    )
    np.testing.assert_allclose(candidate.kl, kl)
    np.testing.assert_allclose(candidate.improvement, gain)


def test_no_step_gains_and_costs_exactly_nothing():
    case = Case()
    passes = case.passes(None)
    old = passes.old(case.start)
    direction = tf.ones([STATES * ACTIONS], tf.float64)
    candidate = passes.measure(case.start, direction, tf.constant(0.0, tf.float64), old)
    assert (float(candidate.kl), float(candidate.improvement)) == (0.0, 0.0)


def test_move_leaves_the_shapes_and_the_start_alone():
    start = [tf.constant([[1.0, 2.0]]), tf.constant(3.0)]
    moved = move(start, tf.constant([1.0, 10.0, 100.0]), 0.5)
    np.testing.assert_array_equal(moved[0], [[1.5, 7.0]])
    assert float(moved[1]) == 3.0 + 0.5 * 100.0
    assert float(start[1]) == 3.0


@pytest.mark.parametrize(("num_rows", "fraction", "count"), [(100, 0.1, 10), (7, 0.01, 1)])
def test_some_rows_are_different_ones_in_order(num_rows, fraction, count):
    indices = _spread_indices(num_rows, fraction)
    assert len(set(indices.tolist())) == count
    assert sorted(indices) == list(indices)
    assert 0 <= indices[0] <= indices[-1] < num_rows
