"""The promise of a trust region, over hundreds of random updates measured apart in float64.

Every accepted step keeps the mean KL under its bound; every refused one leaves each variable as it
was, bit for bit. Each combination compiles once; smaller batches are rows of weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from oracles import as_float64, kl_by_rows, weighted_mean

from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import Backtracking, FillTrustRegion, LineSearch
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.types import Batch, StepStatus, UpdateInfo


class Combination(NamedTuple):
    """What is compiled once."""

    kind: str
    hidden_sizes: Sequence[int]
    num_rows: int
    num_updates: int = 18
    dtype: str = "float32"
    damping: float = 0.1
    line_search: LineSearch = FillTrustRegion()
    fisher_fraction: float = 1.0
    chunk_rows: int | None = None
    execution: Execution = Execution.XLA


COMBINATIONS = [
    Combination("gaussian", (64, 64), 128, num_updates=30),
    Combination("gaussian", (), 3, damping=1e-3),
    Combination("state_dependent_gaussian", (8,), 40, fisher_fraction=0.2),
    Combination("categorical", (16,), 64, damping=1e-3, num_updates=30),
    Combination("multi_discrete", (8, 8), 33, chunk_rows=8),
    Combination("multi_binary", (8,), 1),
    Combination("dict_observations", (16,), 50, line_search=Backtracking()),
    Combination("image", (), 16, num_updates=10),
    Combination("full_gaussian", (8,), 40, damping=0.01),
    Combination("beta", (8,), 40, dtype="float64"),
    Combination("diagonal_gaussian", (8,), 25, damping=0.0),
    Combination("masked_categorical", (8,), 30, execution=Execution.GRAPH),
    Combination("gaussian", (8,), 20, num_updates=8, execution=Execution.EAGER),
]


def randomize(policy: keras.Model, rng: np.random.Generator) -> None:
    """Networks from nearly linear to saturated, scales from narrow to wide."""
    for variable in policy.trainable_variables:
        values = rng.normal(size=variable.shape) * 10 ** rng.uniform(-1, 0.5)
        if len(variable.shape) > 1:
            values /= np.sqrt(np.prod(variable.shape[:-1]))
        variable.assign(np.clip(values, -4, 2).astype(policy.compute_dtype))


def random_advantages(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    scale = 10 ** rng.uniform(-6, 6)
    shape = rng.integers(4)
    if shape == 0:
        return np.full(num_rows, rng.choice([-1, 1]) * scale)
    if shape == 1:
        return scale * rng.standard_cauchy(size=num_rows)
    if shape == 2:
        return scale * (rng.normal(size=num_rows) + 100)
    return scale * rng.normal(size=num_rows)


def random_weights(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    shape = rng.integers(4)
    if shape == 0:
        return np.ones(num_rows)
    if shape == 1:
        return (np.arange(num_rows) == rng.integers(num_rows)).astype(float)
    if shape == 2:
        return rng.uniform(0.1, 2, size=num_rows)
    return (rng.random(num_rows) < rng.random()).astype(float)


def random_batch(
    combination: Combination, policy: keras.Model, rng: np.random.Generator
) -> tuple[Batch, bool]:
    """A batch, and whether its numbers are whole; eagerly with as many rows as have weight."""
    num_rows = combination.num_rows
    weights = random_weights(rng, num_rows)
    if combination.execution is Execution.EAGER:
        num_rows = max(1, int(np.sum(weights > 0)))
        weights = np.ones(num_rows)
    seed = int(rng.integers(2**31))
    observations = zoo.draw_observations(combination.kind, num_rows, seed, combination.dtype)
    batch = zoo.draw_batch(policy, observations, seed, random_advantages(rng, num_rows))
    if combination.kind == "beta":
        batch = batch._replace(actions=np.clip(batch.actions, 1e-6, 1 - 1e-6))
    whole = rng.random() > 0.1
    advantages = batch.advantages
    if not whole:
        advantages = advantages.copy()
        advantages[np.argmax(weights)] = rng.choice([np.nan, np.inf, -np.inf])
        whole = not np.any(weights > 0)
    filler = np.where(weights > 0, 0, np.nan).astype(advantages.dtype)
    weights = weights.astype(advantages.dtype)
    return batch._replace(advantages=advantages + filler, weights=weights), whole


def outputs(policy: keras.Model, observations: Any, weights: list[np.ndarray]) -> Any:
    """The distribution of a float64 twin with these numbers."""
    policy.set_weights([np.asarray(w, np.float64) for w in weights])
    inputs = tf.nest.map_structure(
        lambda part: tf.cast(part, "float64") if part.dtype.kind == "f" else part, observations
    )
    return policy(inputs)


def check(
    combination: Combination,
    twin: keras.Model,
    batch: Batch,
    before: list[np.ndarray],
    after: list[np.ndarray],
    info: UpdateInfo,
    max_kl: float,
) -> None:
    if not bool(info.accepted):
        for old, new in zip(before, after, strict=True):
            assert old.tobytes() == new.tobytes()
        assert float(info.kl) == float(info.step_size) == 0
        assert StepStatus(int(info.status)) is not StepStatus.ACCEPTED
        return
    assert StepStatus(int(info.status)) is StepStatus.ACCEPTED
    assert all(np.all(np.isfinite(new)) for new in after)
    old = outputs(twin, batch.observations, before)
    actions = tf.cast(batch.actions, old.dtype)
    rows, old_log_probs = _frozen(old), as_float64(old.log_prob(actions))
    new = outputs(twin, batch.observations, after)
    divergence = weighted_mean(kl_by_rows(rows, new), batch.weights)
    assert divergence <= max_kl * (1 + 1e-3)
    np.testing.assert_allclose(info.kl, divergence, rtol=0.02, atol=2e-6)
    counts = batch.weights > 0
    advantages = np.where(counts, batch.advantages, 0).astype(np.float64)
    gains = np.expm1(as_float64(new.log_prob(actions)) - old_log_probs) * advantages
    size = weighted_mean(np.abs(advantages), batch.weights)
    assert weighted_mean(gains, batch.weights) > -1e-5 * size


def _frozen(distribution: Any) -> Any:
    """The same distribution after its model has taken other numbers."""
    return tf.nest.map_structure(tf.identity, distribution, expand_composites=True)


@pytest.mark.parametrize(
    "combination", COMBINATIONS, ids=lambda c: f"{c.kind}-{c.num_rows}-{c.execution.value}"
)
def test_random_updates(combination: Combination) -> None:
    kind, sizes = combination.kind, combination.hidden_sizes
    policy = zoo.make(kind, sizes, combination.dtype)
    twin = zoo.make(kind, sizes, "float64")
    optimizer = NaturalGradientOptimizer(
        KLConstraint(),
        damping=combination.damping,
        line_search=combination.line_search,
        fisher_fraction=combination.fisher_fraction,
        chunk_rows=combination.chunk_rows,
        execution=combination.execution,
    )
    rng = np.random.default_rng(len(kind) + combination.num_rows)
    num_accepted = 0
    for _ in range(combination.num_updates):
        randomize(policy, rng)
        batch, whole = random_batch(combination, policy, rng)
        max_kl = 10 ** rng.uniform(-3, -1)
        before = policy.get_weights()
        info = optimizer.step(policy, batch, max_kl=max_kl)
        check(combination, twin, batch, before, policy.get_weights(), info, max_kl)
        assert whole or not bool(info.accepted)
        num_accepted += bool(info.accepted)
    assert num_accepted >= combination.num_updates // 2


def test_as_many_updates_as_promised() -> None:
    assert sum(combination.num_updates for combination in COMBINATIONS) >= 200


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_trainable_variable_moves(kind: str) -> None:
    """The free deviations and extras too; they are easily forgotten."""
    policy = zoo.make(kind, (8,))
    batch = zoo.draw_batch(policy, zoo.draw_observations(kind, 40, seed=0), seed=0)
    before = [v.numpy() for v in policy.trainable_variables]
    optimizer = NaturalGradientOptimizer(KLConstraint(), execution=Execution.GRAPH)
    assert bool(optimizer.step(policy, batch).accepted)
    for variable, old in zip(policy.trainable_variables, before, strict=True):
        assert np.any(variable.numpy() != old), variable.path
