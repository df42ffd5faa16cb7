"""Mean KL and Fisher products against formulas and dense matrices in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo
from long_forms import covering, only
from oracles import flatten, kl_by_rows, kl_hessian, score_fisher, weighted_mean

from trpo_tf import functional
from trpo_tf.chunks import chunked_sum
from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.execution import Execution
from trpo_tf.flat import flatten as concatenated
from trpo_tf.flat import unflatten
from trpo_tf.kl_constraint import KLConstraint, fisher_vector_product

tfd = tfp.distributions
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
NUM_ROWS = 7
WEIGHTS = np.array([1.0, 0.0, 2.5, 1.0, 0.3, 0.0, 1.0])


def twin_policies(kind: str) -> dict[str, keras.Model]:
    """The same numbers in float32 and in float64."""
    twins = {dtype: zoo.make(kind, dtype=dtype) for dtype in ("float32", "float64")}
    twins["float64"].set_weights([np.float64(w) for w in twins["float32"].get_weights()])
    return twins


def draw(kind: str, dtype: str) -> Any:
    rows = zoo.draw_observations(kind, NUM_ROWS, seed=1, dtype="float32")
    return tf.nest.map_structure(
        lambda part: tf.cast(part, dtype) if part.dtype.kind == "f" else tf.constant(part), rows
    )


@functools.lru_cache
def dense_matrices(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """From scores and from the KL in float64, summed over rows."""
    policy, observations = twin_policies(kind)["float64"], draw(kind, "float64")
    variables = [variable.value for variable in policy.trainable_variables]
    fisher, hessian = (
        dense(lambda: as_drawn(policy(observations)), variables, WEIGHTS) * WEIGHTS.sum()
        for dense in (score_fisher, kl_hessian)
    )
    return fisher, hessian


def as_drawn(distribution: Any) -> Any:
    """The metric is that of what is drawn; a clipped normal's scores are of what is executed."""
    inner = getattr(distribution, "distribution", None)
    if not isinstance(inner, ClippedNormal):
        return distribution
    return tfd.Independent(tfd.Normal(inner.loc, inner.scale), 1)


def product_function(policy: keras.Model) -> Callable[[Any, Any, Any], Any]:
    def product(observations: Any, vector: Any, weights: Any) -> Any:
        parameters = functional.parameters(policy)
        return concatenated(
            fisher_vector_product(
                lambda values: functional.apply(policy, values, observations),
                parameters,
                unflatten(vector, parameters),
                weights,
            )
        )

    return product


# --- the metric ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "execution"), covering(zoo.SMALL_KINDS, list(Execution)))
def test_products_against_scores_and_against_the_hessian(kind: str, execution: Execution) -> None:
    """Equal to both dense matrices, so symmetric and of positive curvature, which is tested too."""
    check_products(kind, "float64", execution, tolerance=1e-7)


@pytest.mark.parametrize(
    "kind", only(("gaussian", "beta", "full_gaussian", "categorical"), zoo.SMALL_KINDS)
)
def test_products_in_float32(kind: str) -> None:
    check_products(kind, "float32", Execution.XLA, tolerance=1e-3)


@pytest.mark.parametrize(
    ("kind", "execution"),
    covering(["gaussian", "multi_discrete", "full_gaussian"], [Execution.EAGER, Execution.GRAPH]),
)
def test_products_in_float32_without_xla(kind: str, execution: Execution) -> None:
    check_products(kind, "float32", execution, tolerance=1e-3)


def check_products(kind: str, dtype: str, execution: Execution, tolerance: float) -> None:
    dense = dense_matrices(kind)
    vectors = np.random.default_rng(0).normal(size=(4, len(dense[0])))
    observations, weights = draw(kind, dtype), tf.constant(WEIGHTS, dtype)
    product = execution.compile(product_function(twin_policies(kind)[dtype]))
    results = [product(observations, tf.constant(vector, dtype), weights) for vector in vectors]
    for matrix in dense:
        margin = 0.1 * tolerance * np.abs(matrix).max()
        np.testing.assert_allclose(results, vectors @ matrix, rtol=tolerance, atol=margin)
    gram = vectors @ np.stack(results).T
    np.testing.assert_allclose(gram, gram.T, atol=0.1 * tolerance * np.abs(gram).max())
    assert np.linalg.eigvalsh(gram).min() > 0


@pytest.mark.parametrize("kind", ["gaussian", "multi_discrete", "dict_observations", "beta"])
def test_chunks_sum_to_the_whole(kind: str) -> None:
    policy, observations = twin_policies(kind)["float64"], draw(kind, "float64")
    product = product_function(policy)
    vector = tf.constant(np.random.default_rng(0).normal(size=len(dense_matrices(kind)[0])))
    rows = (observations, tf.constant(WEIGHTS))
    results = [
        Execution.GRAPH.compile(
            lambda rows, chunk_rows=chunk_rows: chunked_sum(
                lambda part: product(part[0], vector, part[1]), rows, chunk_rows
            )
        )(rows)
        for chunk_rows in (None, 3)
    ]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-10, atol=1e-13)


def test_a_gaussian_by_hand() -> None:
    """One linear unit a = w s with deviation e^l: F = diag(s²/σ², 2), summed over rows."""
    states = tf.constant([[1.0], [3.0]], tf.float64)
    weight, log_std = tf.constant([[0.7]], tf.float64), tf.constant([0.2], tf.float64)

    def distribution_fn(parameters: Any) -> Any:
        loc = states @ parameters[0]
        return tfd.Independent(tfd.Normal(loc, tf.exp(parameters[1]) * tf.ones_like(loc)), 1)

    vector = [tf.constant([[5.0]], tf.float64), tf.constant([11.0], tf.float64)]
    weights = tf.constant([1.0, 4.0], tf.float64)
    product = fisher_vector_product(distribution_fn, [weight, log_std], vector, weights)
    expected = [5 * (1 * 1**2 + 4 * 3**2) / np.exp(0.4), 11 * 2 * (1 + 4)]
    np.testing.assert_allclose(flatten(product), expected, rtol=1e-12)


def test_an_unused_parameter_has_no_curvature() -> None:
    logits, unused = tf.constant([[0.3, -0.2]]), tf.constant([1.0, 2.0])
    product = fisher_vector_product(
        lambda parameters: tfd.Categorical(logits=parameters[0]),
        [logits, unused],
        [tf.ones([1, 2]), tf.ones([2])],
        tf.ones([1]),
    )
    np.testing.assert_array_equal(product[1], [0, 0])


# --- the divergence -----------------------------------------------------------------------------


WAYS_AND_DTYPES = [*((execution, "float64") for execution in Execution), (Execution.XLA, "float32")]


@pytest.mark.parametrize(("kind", "way"), covering(zoo.SMALL_KINDS, WAYS_AND_DTYPES))
def test_mean_divergence(kind: str, way: tuple[Execution, str]) -> None:
    """In the direction KL(old ‖ new), by formulas written down apart."""
    execution, dtype = way
    old, new = (zoo.make(kind, dtype=dtype, seed=seed) for seed in (0, 5))
    observations = draw(kind, dtype)
    rows = kl_by_rows(old(observations), new(observations))
    assert rows.shape == (NUM_ROWS,)
    assert rows.min() > 0
    weighted, unweighted = execution.compile(
        lambda observations, weights: (
            KLConstraint()(old(observations), new(observations), weights),
            KLConstraint()(old(observations), new(observations)),
        )
    )(observations, tf.constant(WEIGHTS, dtype))
    tolerance = 2e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(weighted, weighted_mean(rows, WEIGHTS), rtol=tolerance)
    np.testing.assert_allclose(unweighted, weighted_mean(rows), rtol=tolerance)


@ALL_WAYS
def test_divergences_of_large_numbers_in_float32(execution: Execution) -> None:
    """Each is a difference of numbers near 6000; float32 is wrong by half a percent."""
    old, new = (
        tfd.Beta(tf.constant([1000.0, 3000.0]), tf.constant(other))
        for other in ([1000.0, 20.0], [1005.0, 20.5])
    )
    rows = kl_by_rows(old, new)
    assert rows.max() < 0.01
    divergence = execution.compile(lambda: KLConstraint()(old, new))()
    assert divergence.dtype == tf.float32
    np.testing.assert_allclose(divergence, rows.mean(), rtol=1e-6)


class Whole(tfd.Distribution):
    """No composite tensor, so nothing can take it apart."""

    def __init__(self, loc: Any) -> None:
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, False)
        self.loc = tf.convert_to_tensor(loc, tf.float32)

    def _kl_divergence(self, other: Any) -> Any:
        return (self.loc - other.loc) ** 2 / 2


class Unlisted(Whole, tfd.AutoCompositeTensorDistribution):
    """A composite tensor, were its parameters listed."""

    def __init__(self, loc: Any) -> None:
        tfd.AutoCompositeTensorDistribution.__init__(
            self, tf.float32, tfd.NOT_REPARAMETERIZED, False, False, dict(locals())
        )
        self.loc = tf.convert_to_tensor(loc, tf.float32)


@ALL_WAYS
def test_what_differs_in_more_than_numbers_stays_what_it_is(execution: Execution) -> None:
    """Probabilities are not taken for logits, nor one bijector for another."""
    numbers = tf.constant([[0.5, 0.25, 0.25]])
    old, new = tfd.Categorical(probs=numbers), tfd.Categorical(logits=numbers)
    exact = kl_by_rows(tfd.Categorical(logits=np.log(numbers)), new).mean()
    np.testing.assert_allclose(execution.compile(lambda: KLConstraint()(old, new))(), exact, 1e-6)
    base = tfd.Normal([0.0], 1.0)
    others = [
        tfd.TransformedDistribution(base, b) for b in (tfp.bijectors.Tanh(), tfp.bijectors.Exp())
    ]
    with pytest.raises(NotImplementedError):
        execution.compile(lambda: KLConstraint()(*others))()


@ALL_WAYS
def test_transformed_distributions(execution: Execution) -> None:
    """The divergence is that of what is transformed."""

    def divergence() -> Any:
        old, new = (
            tfd.TransformedDistribution(tfd.Normal([mean], 1.0), tfp.bijectors.Tanh())
            for mean in (0.0, 2.0)
        )
        taken_apart = tf.nest.flatten(new, expand_composites=True)
        return KLConstraint()(
            old, tf.nest.pack_sequence_as(new, taken_apart, expand_composites=True)
        )

    assert float(execution.compile(divergence)()) == 2.0


@pytest.mark.parametrize("kind", [Whole, Unlisted])
def test_what_cannot_be_taken_apart_is_measured_as_it_is(kind: Callable[[Any], Any]) -> None:
    assert float(KLConstraint()(kind([0.0, 0.0]), kind([2.0, 0.0]))) == 1.0


@ALL_WAYS
def test_rows_of_no_weight_may_hold_anything(execution: Execution) -> None:
    old = tfd.Normal(tf.constant([0.0, np.nan, 0.0]), 1.0)
    new = tfd.Normal(tf.constant([1.0, 1.0, np.inf]), 1.0)
    weights = tf.constant([2.0, 0.0, 0.0])
    divergence = execution.compile(lambda: KLConstraint()(old, new, weights))()
    assert float(divergence) == 0.5


def test_no_rows_at_all() -> None:
    normal = tfd.Normal([0.0, 1.0], 1.0)
    assert float(KLConstraint()(normal, normal, tf.zeros([2]))) == 0.0


def test_the_direction_by_hand() -> None:
    old, new = tfd.Categorical(probs=[[0.5, 0.5]]), tfd.Categorical(probs=[[0.9, 0.1]])
    forwards = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    backwards = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert forwards != pytest.approx(backwards, rel=0.1)
    np.testing.assert_allclose(KLConstraint()(old, new), forwards, rtol=1e-6)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_kl", [0.0, -0.01, float("nan"), float("inf")])
def test_bad_max_kl(max_kl: float) -> None:
    with pytest.raises(ValueError, match=r"max_kl must be > 0 and finite, got .* 0.001 to 0.05"):
        KLConstraint(max_kl=max_kl)


def test_schedule() -> None:
    schedule = keras.optimizers.schedules.PolynomialDecay(0.02, 100, 0.01)
    constraint = KLConstraint(max_kl=schedule)
    for updates, expected in ((0, 0.02), (50, 0.015), (100, 0.01), (1000, 0.01)):
        limit = constraint.max_kl_at(tf.constant(updates, tf.int64))
        np.testing.assert_allclose(limit, expected, rtol=1e-6)
    assert KLConstraint(max_kl=0.03).max_kl_at(7) == 0.03
