"""Passes over the rows of one batch: gradient, Fisher products, measured candidates, in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trpo_tf import flat
from trpo_tf.chunks import chunked_map, chunked_sum
from trpo_tf.draws import if_implemented
from trpo_tf.kl_constraint import fisher_vector_product, kl_of_rows, mean_kl, weighted_sum
from trpo_tf.line_search import Candidate
from trpo_tf.policies import log_probs_of, validate_distribution
from trpo_tf.types import Batch

# Rows from which is seen what rounding does: it is the network's doing rather than a single row's.
_FEW_ROWS = 32


class Rows(NamedTuple):
    """What the passes over rows need; every field [N, …]."""

    observations: Any
    actions: Any
    coefficients: Any
    weights: Any


class OldPolicy(NamedTuple):
    """π_old on every row: log-probabilities [N], entropies [N], its parameter tensors.

    Between chunks the parameter tensors are not kept (the list is empty): one that all rows share
    has no row dimension to cut, and to compute them again takes less memory.
    """

    log_probs: Any
    entropies: Any
    components: list[Any]


class BatchPasses:
    """A batch and the passes over it that a policy step is made of; holds no variables.

    Args:
        distribution_fn: (parameter values, observations) ↦ `tfd.Distribution` of batch [n].
        batch: tensors of N rows.
        chunk_rows: rows at a time; None: all at once.

    Raises:
        ValueError: if weights, advantages or log-probabilities are not [N].
    """

    def __init__(
        self, distribution_fn: Callable[..., Any], batch: Batch, chunk_rows: int | None
    ) -> None:
        for name, rows in batch._asdict().items():
            if name in ("observations", "actions") or rows is None:
                continue
            if len(rows.shape) != 1 or rows.shape[0] != batch.weights.shape[0]:
                raise ValueError(
                    f"{name} must be [N], one number for each of {batch.weights.shape[0]} rows, "
                    f"got {rows.shape}."
                )
        self.distribution_fn = distribution_fn
        self.chunk_rows = chunk_rows
        self.in_chunks = chunk_rows is not None and chunk_rows < batch.weights.shape[0]
        # Rows that do not count may hold anything, so a row that counts stands in for them: a zero
        # weight alone would not stop a NaN. (Gathered, not sliced: XLA compiles a slice anew for
        # each beginning.)
        stand_in = tf.argmax(batch.weights)
        self.filler = tf.nest.map_structure(
            lambda rows: tf.gather(rows, stand_in), (batch.observations, batch.actions)
        )
        self.rows = Rows(
            batch.observations, batch.actions, tf.zeros_like(batch.weights), batch.weights
        )
        self.total_weight = tf.reduce_sum(batch.weights)
        self.structure: Any = None

    def mean(self, weighted_rows: Any) -> Any:
        """Σ of already weighted rows [N] / Σ of weights."""
        rows = tf.where(self.rows.weights > 0, weighted_rows, 0)
        return tf.math.divide_no_nan(tf.reduce_sum(rows), self.total_weight)

    def set_coefficients(self, importance_weighted_advantages: Any) -> Any:
        """Sets w·ρ·Â of each row, divided by their largest magnitude, which is returned."""
        weights = self.rows.weights
        coefficients = tf.where(weights > 0, weights * importance_weighted_advantages, 0)
        scale = tf.reduce_max(tf.abs(coefficients))
        self.rows = self.rows._replace(coefficients=tf.math.divide_no_nan(coefficients, scale))
        return scale

    def old(self, start: list[Any]) -> OldPolicy:
        """The policy at `start` on every row; checks that its distribution can be used."""

        def evaluate(rows: Rows) -> tuple[Any, ...]:
            distribution, actions = self._distribution(start, rows)
            validate_distribution(distribution, rows.weights.shape[0])
            log_probs = log_probs_of(distribution, actions)
            entropies = if_implemented(distribution.entropy)
            if entropies is None:
                entropies = -log_probs
            if self.in_chunks:
                return log_probs, entropies
            self.structure = distribution
            components = tf.nest.flatten(distribution, expand_composites=True)
            return (log_probs, entropies, *components)

        log_probs, entropies, *components = chunked_map(evaluate, self.rows, self.chunk_rows)
        return OldPolicy(log_probs, entropies, components)

    def gradient(self, start: list[Any]) -> Any:
        """The gradient [P] of the surrogate over the coefficients' scale, at π_θ = π_old."""

        def evaluate(rows: Rows) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(start)
                distribution, actions = self._distribution(start, rows)
                objective = self._coefficient_sum(rows, distribution.log_prob(actions))
            zero = tf.UnconnectedGradients.ZERO
            return flat.flatten(tape.gradient(objective, start, unconnected_gradients=zero))

        return tf.math.divide_no_nan(
            chunked_sum(evaluate, self.rows, self.chunk_rows), self.total_weight
        )

    def fisher(self, start: list[Any], fraction: float) -> Callable[[Any], Any]:
        """V [P] ↦ Fv [P] at `start`, F the weighted mean over a fraction of the rows."""
        rows = self.rows
        if fraction < 1:
            indices = _spread_indices(rows.weights.shape[0], fraction)
            rows = tf.nest.map_structure(lambda part: tf.gather(part, indices), rows)
        total_weight = tf.reduce_sum(rows.weights)

        def product(vector: Any) -> Any:
            parts = flat.unflatten(vector, start)

            def evaluate(rows: Rows) -> Any:
                return flat.flatten(
                    fisher_vector_product(
                        lambda values: self._distribution(values, rows)[0],
                        start,
                        parts,
                        rows.weights,
                    )
                )

            total = chunked_sum(evaluate, rows, self.chunk_rows)
            return tf.math.divide_no_nan(total, total_weight)

        return product

    def measure(self, start: list[Any], direction: Any, step: Any, old: OldPolicy) -> Candidate:
        """The mean KL and the surrogate's gain, over the coefficients' scale, of a step."""
        values = move(start, direction, step)

        def evaluate(rows_and_old: tuple[Rows, Any, list[Any]]) -> tuple[Any, Any]:
            rows, old_log_probs, components = rows_and_old
            distribution, actions = self._distribution(values, rows)
            before = self._before(start, rows, components)
            divergence = weighted_sum(kl_of_rows(before, distribution), rows.weights)
            # ratio − 1 by expm1: a small gain beside a large surrogate is not lost to rounding.
            gain = tf.math.expm1(distribution.log_prob(actions) - old_log_probs)
            return divergence, self._coefficient_sum(rows, gain)

        divergence, gain = chunked_sum(
            evaluate, (self.rows, old.log_probs, old.components), self.chunk_rows
        )
        kl = tf.math.divide_no_nan(divergence, tf.cast(self.total_weight, divergence.dtype))
        return Candidate(
            kl=tf.cast(kl, gain.dtype),
            improvement=tf.math.divide_no_nan(gain, self.total_weight),
        )

    def kl_of_few(self, start: list[Any]) -> Callable[[Any, Any], Any]:
        """(direction [P], step []) ↦ mean KL [] of that step over 32 rows that count, or all."""
        counting = tf.cumsum(tf.cast(self.rows.weights > 0, tf.int32))
        num_few = min(_FEW_ROWS, self.rows.weights.shape[0])
        # Spread evenly over the rows that count, some more than once where there are fewer.
        ranks = tf.range(num_few) * counting[-1] // num_few
        indices = tf.searchsorted(counting, ranks, side="right")
        # Where none counts there is none of that rank.
        indices = tf.minimum(indices, self.rows.weights.shape[0] - 1)
        few = tf.nest.map_structure(lambda part: tf.gather(part, indices), self.rows)
        before = self._distribution(start, few)[0]

        def measure(direction: Any, step: Any) -> Any:
            distribution = self._distribution(move(start, direction, step), few)[0]
            return mean_kl(before, distribution, few.weights)

        return measure

    def _before(self, start: list[Any], rows: Rows, components: list[Any]) -> Any:
        if self.in_chunks:
            return self._distribution(start, rows)[0]
        return tf.nest.pack_sequence_as(self.structure, components, expand_composites=True)

    def _coefficient_sum(self, rows: Rows, row_values: Any) -> Any:
        return tf.reduce_sum(tf.where(rows.weights > 0, rows.coefficients * row_values, 0))

    def _distribution(self, values: Any, rows: Rows) -> tuple[Any, Any]:
        def fill(part: Any, filler: Any) -> Any:
            counts = tf.reshape(rows.weights > 0, [-1] + [1] * (part.shape.rank - 1))
            return tf.where(counts, part, filler)

        observations, actions = tf.nest.map_structure(
            fill, (rows.observations, rows.actions), self.filler
        )
        return self.distribution_fn(values, observations), actions


def move(start: list[Any], direction: Any, step: Any) -> list[Any]:
    """Start + step · direction, the direction a vector [P]."""
    parts = flat.unflatten(direction, start)
    return [before + step * part for before, part in zip(start, parts, strict=True)]


def _spread_indices(num_rows: int, fraction: float) -> np.ndarray:
    """Different rows spread evenly; the golden ratio keeps them off the period of environments."""
    count = max(1, round(num_rows * fraction))
    places = (np.arange(num_rows) * 0.6180339887498949) % 1
    return np.sort(np.argsort(places)[:count]).astype(np.int32)
