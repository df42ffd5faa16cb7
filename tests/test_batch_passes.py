"""Passes over a batch against sums over rows written out, whole and in chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import zoo
from oracles import as_float64, kl_by_rows, score_fisher, weighted_mean

from trpo_tf import functional
from trpo_tf.batch_passes import BatchPasses, _spread_indices, move
from trpo_tf.types import Batch

NUM_ROWS = 11
WEIGHTS = np.random.default_rng(0).choice([0.0, 1.0, 2.5], size=NUM_ROWS)
KINDS = pytest.mark.parametrize("kind", ["gaussian", "categorical", "diagonal_gaussian"])
CHUNKS = pytest.mark.parametrize("chunk_rows", [None, 4, 11, 100])


class Case:
    """A policy, a batch, the passes over it, and a direction to go."""

    def __init__(self, kind: str, chunk_rows: int | None) -> None:
        self.policy = zoo.make(kind, (3,), "float64")
        rows = zoo.draw_observations(kind, NUM_ROWS, seed=2, dtype="float64")
        batch = zoo.draw_batch(self.policy, rows, seed=3)._replace(weights=WEIGHTS)
        self.batch = Batch(*(None if part is None else tf.constant(part) for part in batch))
        self.passes = BatchPasses(
            lambda values, rows: functional.apply(self.policy, values, rows), self.batch, chunk_rows
        )
        self.start = functional.parameters(self.policy)
        size = sum(int(np.prod(part.shape)) for part in self.start)
        self.direction = np.random.default_rng(4).normal(size=size)

    def distribution(self, step: float = 0.0) -> Any:
        values = move(self.start, tf.constant(self.direction), tf.constant(step, tf.float64))
        return functional.apply(self.policy, values, self.batch.observations)

    def log_probs(self, step: float = 0.0) -> np.ndarray:
        return as_float64(self.distribution(step).log_prob(self.batch.actions))


@KINDS
@CHUNKS
def test_the_old_policy(kind: str, chunk_rows: int | None) -> None:
    case = Case(kind, chunk_rows)
    old = case.passes.old(case.start)
    np.testing.assert_allclose(
        np.where(WEIGHTS > 0, old.log_probs, 0), np.where(WEIGHTS > 0, case.log_probs(), 0)
    )
    entropies = case.distribution().entropy()
    mean = case.passes.mean(old.entropies * WEIGHTS)
    np.testing.assert_allclose(mean, weighted_mean(as_float64(entropies), WEIGHTS))


@KINDS
@CHUNKS
def test_the_gradient_by_differences(kind: str, chunk_rows: int | None) -> None:
    case = Case(kind, chunk_rows)
    scale = case.passes.set_coefficients(case.batch.advantages)
    gradient = case.passes.gradient(case.start).numpy() * scale.numpy()
    np.testing.assert_allclose(scale, np.max(np.abs(WEIGHTS * case.batch.advantages)))

    def surrogate(step: float) -> float:
        ratio = np.exp(case.log_probs(step) - case.log_probs())
        return weighted_mean(ratio * case.batch.advantages.numpy(), WEIGHTS)

    slope = (surrogate(1e-6) - surrogate(-1e-6)) / 2e-6
    np.testing.assert_allclose(gradient @ case.direction, slope, rtol=1e-6)


@KINDS
@CHUNKS
def test_a_candidate(kind: str, chunk_rows: int | None) -> None:
    case = Case(kind, chunk_rows)
    scale = case.passes.set_coefficients(case.batch.advantages)
    old = case.passes.old(case.start)
    step = tf.constant(0.05, tf.float64)
    candidate = case.passes.measure(case.start, tf.constant(case.direction), step, old)
    divergence = kl_by_rows(case.distribution(), case.distribution(0.05))
    np.testing.assert_allclose(candidate.kl, weighted_mean(divergence, WEIGHTS), rtol=1e-9)
    ratio = np.exp(case.log_probs(0.05) - case.log_probs())
    gain = weighted_mean((ratio - 1) * case.batch.advantages.numpy(), WEIGHTS)
    np.testing.assert_allclose(candidate.improvement * scale, gain, rtol=1e-9)


@KINDS
@pytest.mark.parametrize("num_rows", [1, 11, 1000])
def test_the_divergence_of_few_rows(kind: str, num_rows: int) -> None:
    """Of a thousand, mostly of weight 0 and NaN, only rows that count, from the whole length."""
    policy = zoo.make(kind, (3,), "float64")
    rows = zoo.draw_observations(kind, num_rows, seed=2, dtype="float64")
    batch = zoo.draw_batch(policy, rows, seed=3)
    counts = np.random.default_rng(5).random(num_rows) < (0.2 if num_rows > 32 else 1)
    garbage = tf.where(counts[:, np.newaxis], rows, np.nan)
    weights = tf.constant(counts, tf.float64)
    passes = BatchPasses(
        lambda values, rows: functional.apply(policy, values, rows),
        batch._replace(observations=garbage, weights=weights),
        None,
    )
    start = functional.parameters(policy)
    size = sum(int(np.prod(part.shape)) for part in start)
    direction = tf.constant(np.random.default_rng(4).normal(size=size))
    found = passes.kl_of_few(start)(direction, tf.constant(0.05, tf.float64))
    moved = functional.apply(policy, move(start, direction, tf.constant(0.05, tf.float64)), rows)
    divergence = kl_by_rows(policy(rows), moved)[counts]
    places = np.arange(32) * len(divergence) // 32 if num_rows > 32 else slice(None)
    np.testing.assert_allclose(found, np.mean(divergence[places]), rtol=1e-9)


def test_the_divergence_of_no_rows() -> None:
    case = Case("gaussian", None)
    passes = BatchPasses(
        lambda values, rows: functional.apply(case.policy, values, rows),
        case.batch._replace(weights=tf.zeros(NUM_ROWS, tf.float64)),
        None,
    )
    measure = passes.kl_of_few(case.start)
    assert float(measure(tf.constant(case.direction), tf.constant(0.05, tf.float64))) == 0


@KINDS
@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_fisher_products(kind: str, fraction: float) -> None:
    case = Case(kind, 4)
    kept = np.arange(NUM_ROWS) if fraction == 1 else _spread_indices(NUM_ROWS, fraction)
    rows = tf.gather(case.batch.observations, kept)
    variables = [variable.value for variable in case.policy.trainable_variables]
    dense = score_fisher(lambda: case.policy(rows), variables, WEIGHTS[kept])
    product = case.passes.fisher(case.start, fraction)(tf.constant(case.direction))
    np.testing.assert_allclose(product, dense @ case.direction, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("num_rows", [1, 2, 16 * 128])
def test_rows_of_a_fraction(num_rows: int, fraction: float) -> None:
    rows = _spread_indices(num_rows, fraction)
    assert len(rows) == max(1, round(num_rows * fraction)) == len(set(rows.tolist()))
    assert rows.min() >= 0
    assert rows.max() < num_rows
    if num_rows == 2048 and fraction == 0.1:
        environments = np.bincount(rows % 16, minlength=16)
        times = np.bincount(rows // 256, minlength=8)
        assert environments.min() >= 0.5 * environments.mean()
        assert times.min() >= 0.9 * times.mean()


def test_move() -> None:
    start = [tf.constant([[1.0, 2.0]]), tf.constant(3.0)]
    moved = move(start, tf.constant([10.0, 20.0, 30.0]), tf.constant(0.5))
    np.testing.assert_array_equal(moved[0], [[1 + 5, 2 + 10]])
    np.testing.assert_array_equal(moved[1], 3 + 15)
