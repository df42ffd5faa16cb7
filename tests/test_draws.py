"""Draws with per-row seeds: their law, their independence of the batch, LiteRT, other execution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from litert_runner import run_litert

from trpo_tf.draws import (
    NoiseSpec,
    deterministic_action,
    draw_from_noise,
    draw_rows,
    noise_spec,
    row_noise,
)
from trpo_tf.execution import Execution
from trpo_tf.random import row_gumbels, row_normals, row_uniforms, step_seeds

tfd, tfb = tfp.distributions, tfp.bijectors


class Kind(NamedTuple):
    """A distribution of parameters [N, ...] that the noise path knows."""

    make: Callable[[Any], Any]
    parameter_shape: tuple[int, ...]
    spec: NoiseSpec


def padded(logits: Any) -> Any:
    """MultiDiscrete([2, 4, 3]): what a narrow choice lacks is masked."""
    possible = np.arange(4) < np.array([2, 4, 3])[:, np.newaxis]
    return tfd.Independent(tfd.Categorical(logits=tf.where(possible, logits, -1e9)), 1)


def only_first_and_last(logits: Any) -> Any:
    return tfd.Categorical(logits=tf.where([True, False, False, True], logits, -np.inf))


SCALES = np.array([0.5, 2.0, 0.01], np.float32)
KINDS = {
    "normal": Kind(lambda x: tfd.Normal(x, 2.0), (), NoiseSpec("normal", 1)),
    "independent_normal": Kind(
        lambda x: tfd.Independent(tfd.Normal(x, tf.cast(SCALES, x.dtype)), 1),
        (3,),
        NoiseSpec("normal", 3),
    ),
    "scalar_independent_normal": Kind(
        lambda x: tfd.Independent(tfd.Normal(x, 1.0), 0), (), NoiseSpec("normal", 1)
    ),
    "matrix_normal": Kind(
        lambda x: tfd.Independent(tfd.Normal(x, tf.exp(x)), 2), (2, 3), NoiseSpec("normal", 6)
    ),
    "diagonal_normal": Kind(
        lambda x: tfd.MultivariateNormalDiag(x, tf.cast(SCALES, x.dtype)),
        (3,),
        NoiseSpec("normal", 3),
    ),
    "diagonal_normal_without_loc": Kind(
        lambda x: tfd.MultivariateNormalDiag(scale_diag=tf.exp(x)), (3,), NoiseSpec("normal", 3)
    ),
    "categorical": Kind(lambda x: tfd.Categorical(logits=x), (4,), NoiseSpec("gumbel", 4)),
    "categorical_by_probs": Kind(
        lambda x: tfd.Categorical(probs=tf.nn.softmax(x)), (4,), NoiseSpec("gumbel", 4)
    ),
    "categorical_int64": Kind(
        lambda x: tfd.Categorical(logits=x, dtype=tf.int64), (4,), NoiseSpec("gumbel", 4)
    ),
    "masked_categorical": Kind(only_first_and_last, (4,), NoiseSpec("gumbel", 4)),
    "categoricals": Kind(
        lambda x: tfd.Independent(tfd.Categorical(logits=x), 2), (2, 3, 4), NoiseSpec("gumbel", 24)
    ),
    "padded_categoricals": Kind(padded, (3, 4), NoiseSpec("gumbel", 12)),
    "one_hot": Kind(lambda x: tfd.OneHotCategorical(logits=x), (4,), NoiseSpec("gumbel", 4)),
    "one_hots": Kind(
        lambda x: tfd.Independent(tfd.OneHotCategorical(logits=x), 1),
        (2, 3),
        NoiseSpec("gumbel", 6),
    ),
    "bernoulli": Kind(lambda x: tfd.Bernoulli(logits=x), (), NoiseSpec("uniform", 1)),
    "bernoullis": Kind(
        lambda x: tfd.Independent(tfd.Bernoulli(logits=x), 2), (2, 3), NoiseSpec("uniform", 6)
    ),
    "bernoullis_by_probs": Kind(
        lambda x: tfd.Independent(tfd.Bernoulli(probs=tf.sigmoid(x), dtype=tf.float32), 1),
        (3,),
        NoiseSpec("uniform", 3),
    ),
}


def parameters(kind: Kind, num_rows: int, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.normal(size=(num_rows, *kind.parameter_shape)).astype(dtype)


def some_seeds(num_rows: int, seed: int = 3) -> tf.Tensor:
    return tf.reshape(step_seeds(seed, 0, num_rows, 0, 1), [num_rows, 2])


@pytest.mark.parametrize("name", KINDS)
def test_the_noise_that_a_kind_takes(name: str) -> None:
    kind = KINDS[name]
    assert noise_spec(kind.make(tf.constant(parameters(kind, 5)))) == kind.spec


@pytest.mark.parametrize("name", KINDS)
def test_the_noise_while_tracing_an_unknown_number_of_rows(name: str) -> None:
    kind = KINDS[name]
    found = []

    @tf.function(input_signature=[tf.TensorSpec([None, *kind.parameter_shape])])
    def trace(values: tf.Tensor) -> tf.Tensor:
        found.append(noise_spec(kind.make(values)))
        return values

    trace.get_concrete_function()
    assert found == [kind.spec]


class LoudNormal(tfd.Normal):
    """A user's subclass may sample otherwise."""


@pytest.mark.parametrize(
    "distribution",
    [
        tfd.Independent(tfd.Beta(tf.ones([5, 2]), 1.0), 1),
        tfd.MultivariateNormalTriL(tf.zeros([5, 2]), tf.eye(2, batch_shape=[5])),
        LoudNormal(tf.zeros([5]), 1.0),
        tfd.Normal(tf.zeros([5, 2]), 1.0),
        tfd.Normal(0.0, 1.0),
        tfd.RelaxedOneHotCategorical(1.0, logits=tf.zeros([5, 2])),
    ],
)
def test_kinds_that_are_not_known(distribution: Any) -> None:
    assert noise_spec(distribution) is None


def test_noise_is_that_of_the_generator() -> None:
    seeds = some_seeds(6)
    for kind, function in (
        ("normal", row_normals),
        ("gumbel", row_gumbels),
        ("uniform", row_uniforms),
    ):
        for dtype in ("float32", "float64"):
            noise = row_noise(NoiseSpec(kind, 5), seeds, dtype)
            np.testing.assert_array_equal(noise, function(seeds, 5, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_actions_have_the_distributions_shape_and_dtype(name: str, dtype: str) -> None:
    kind = KINDS[name]
    distribution = kind.make(tf.constant(parameters(kind, 5, dtype)))
    actions = draw_rows(distribution, some_seeds(5))
    assert actions.dtype == distribution.dtype
    assert actions.shape == [5, *distribution.event_shape]
    assert np.isfinite(distribution.log_prob(actions)).all()


def test_draws_by_their_formulas() -> None:
    seeds, loc = some_seeds(5), parameters(KINDS["independent_normal"], 5)
    normal = KINDS["independent_normal"].make(tf.constant(loc))
    expected = loc + SCALES * row_normals(seeds, 3).numpy()
    np.testing.assert_allclose(draw_rows(normal, seeds), expected, rtol=1e-6)
    logits = parameters(KINDS["categoricals"], 5)
    gumbels = row_gumbels(seeds, 24).numpy().reshape(5, 2, 3, 4)
    np.testing.assert_array_equal(
        draw_rows(KINDS["categoricals"].make(tf.constant(logits)), seeds),
        np.argmax(logits + gumbels, axis=-1),
    )
    logits = parameters(KINDS["bernoullis"], 5)
    uniforms = row_uniforms(seeds, 6).numpy().reshape(5, 2, 3)
    np.testing.assert_array_equal(
        draw_rows(KINDS["bernoullis"].make(tf.constant(logits)), seeds),
        uniforms < 1 / (1 + np.exp(-logits)),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_normal_has_its_mean_and_covariance(dtype: str) -> None:
    count = 40_000
    loc = tf.constant([[0.3, -1.0, 5.0]], dtype)
    distribution = tfd.MultivariateNormalDiag(
        tf.repeat(loc, count, 0), tf.constant([0.5, 2.0, 0.01], dtype)
    )
    actions = draw_rows(distribution, some_seeds(count)).numpy()
    standard = (actions - loc.numpy()) / [0.5, 2.0, 0.01]
    assert np.abs(standard.mean(axis=0)).max() < 4 / math.sqrt(count)
    np.testing.assert_allclose(np.cov(standard.T), np.eye(3), atol=4 * math.sqrt(2 / count))


def chi_squared(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(np.sum((counts - expected) ** 2 / expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_categorical_frequencies(dtype: str) -> None:
    count = 40_000
    logits = tf.constant([2.0, 0.0, -3.0, 1.0, -np.inf, -1e9], dtype)
    distribution = tfd.Categorical(logits=tf.repeat(logits[tf.newaxis], count, 0))
    counts = np.bincount(draw_rows(distribution, some_seeds(count)).numpy(), minlength=6)
    assert counts[4:].tolist() == [0, 0]
    probabilities = tfd.Categorical(logits=logits).probs_parameter().numpy()[:4]
    # 3 degrees of freedom: more than 16.3 has probability 1e-3; the draws are fixed by the seed.
    assert chi_squared(counts[:4], probabilities) < 16.3


def test_categoricals_are_independent_of_each_other() -> None:
    count = 40_000
    logits = tf.constant([[[1.0, 0.0, -1e9], [0.0, 0.5, 1.0]]])
    distribution = tfd.Independent(tfd.Categorical(logits=tf.repeat(logits, count, 0)), 1)
    actions = draw_rows(distribution, some_seeds(count)).numpy()
    pairs = np.bincount(3 * actions[:, 0] + actions[:, 1], minlength=9)
    left, right = tf.nn.softmax(logits[0]).numpy()
    assert pairs[6:].tolist() == [0, 0, 0]
    # 5 degrees of freedom, 1e-3.
    assert chi_squared(pairs[:6], np.outer(left[:2], right).ravel()) < 20.5


def test_bernoulli_frequencies() -> None:
    count = 40_000
    probabilities = np.array([0.0, 1e-4, 0.2, 0.9, 1.0], np.float32)
    probs = tf.repeat(tf.constant(probabilities)[tf.newaxis], count, 0)
    for distribution in (
        tfd.Bernoulli(probs=probs),
        tfd.Bernoulli(logits=tfb.Sigmoid().inverse(probs)),
    ):
        actions = draw_rows(tfd.Independent(distribution, 1), some_seeds(count)).numpy()
        shares = actions.mean(axis=0)
        assert shares[[0, 4]].tolist() == [0, 1]
        deviation = np.sqrt(probabilities * (1 - probabilities) / count)
        assert (np.abs(shares - probabilities) <= 4 * deviation).all()
        assert np.abs(np.corrcoef(actions[:, 2:4].T)[0, 1]) < 4 / math.sqrt(count)


def test_one_hots_are_the_categoricals_draws() -> None:
    logits = tf.constant(parameters(KINDS["one_hot"], 200))
    indices = draw_rows(tfd.Categorical(logits=logits), some_seeds(200))
    one_hots = draw_rows(tfd.OneHotCategorical(logits=logits), some_seeds(200))
    np.testing.assert_array_equal(one_hots, tf.one_hot(indices, 4, dtype=tf.int32))


@pytest.mark.parametrize("name", KINDS)
def test_a_row_does_not_know_its_batch(name: str) -> None:
    kind = KINDS[name]
    values, seeds = tf.constant(parameters(kind, 32)), some_seeds(32)
    together = draw_rows(kind.make(values), seeds).numpy()
    order = np.random.default_rng(0).permutation(32)
    reordered = draw_rows(kind.make(tf.gather(values, order)), tf.gather(seeds, order))
    compare = compare_draws(together.dtype)
    compare(reordered.numpy(), together[order])
    for size in (1, 7):
        compare(draw_rows(kind.make(values[:size]), seeds[:size]).numpy(), together[:size])


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
@pytest.mark.parametrize("name", KINDS)
def test_draws_are_the_same_however_run(name: str, execution: Execution) -> None:
    kind = KINDS[name]
    values, seeds = tf.constant(parameters(kind, 50)), some_seeds(50)
    compiled = execution.compile(lambda x, s: draw_rows(kind.make(x), s))(values, seeds).numpy()
    compare_draws(compiled.dtype)(compiled, draw_rows(kind.make(values), seeds).numpy())


def compare_draws(dtype: np.dtype) -> Callable[[np.ndarray, np.ndarray], None]:
    """Choices are equal, locations and scales are computed to rounding."""
    if dtype.kind == "i":
        return np.testing.assert_array_equal
    return lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_draws_in_litert(name: str) -> None:
    kind = KINDS[name]
    values, seeds = parameters(kind, 9), some_seeds(9)
    noise = row_noise(kind.spec, seeds, tf.float32).numpy()
    actions = run_litert(lambda x, n: draw_from_noise(kind.make(x), n), values, noise)
    expected = draw_rows(kind.make(tf.constant(values)), seeds).numpy()
    assert actions.dtype == expected.dtype
    compare_draws(actions.dtype)(actions, expected)


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_number_of_rows(name: str) -> None:
    kind = KINDS[name]
    draw = tf.function(
        lambda x, s: draw_rows(kind.make(x), s),
        input_signature=[
            tf.TensorSpec([None, *kind.parameter_shape]),
            tf.TensorSpec([None, 2], tf.int32),
        ],
    )
    for num_rows in (4, 1, 0):
        values, seeds = tf.constant(parameters(kind, num_rows)), some_seeds(num_rows)
        drawn = draw(values, seeds).numpy()
        compare_draws(drawn.dtype)(drawn, draw_rows(kind.make(values), seeds).numpy())


def test_half_precision_is_drawn_too() -> None:
    distribution = tfd.Independent(
        tfd.Normal(tf.zeros([4, 2], tf.float16), tf.cast(1, tf.float16)), 1
    )
    actions = draw_rows(distribution, some_seeds(4))
    assert actions.dtype == tf.float16
    np.testing.assert_allclose(actions, row_normals(some_seeds(4), 2), rtol=1e-3)


def test_a_users_own_kind_samples_itself() -> None:
    loc = tf.constant(parameters(KINDS["independent_normal"], 6))
    squashed = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(loc, SCALES), tfb.Tanh())
    actions = draw_rows(squashed, some_seeds(6)).numpy()
    assert actions.shape == (6, 3)
    for row, seed in enumerate(some_seeds(6)):
        alone = tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(loc[row : row + 1], SCALES), tfb.Tanh()
        )
        np.testing.assert_array_equal(alone.sample(seed=seed)[0], actions[row])


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (tfd.Normal(0.0, 1.0), r"got batch shape \(\) and seeds of shape \(2, 2\)"),
        (tfd.Normal(tf.zeros([2, 3]), 1.0), r"got batch shape \(2, 3\) and seeds"),
        (tfd.Normal(tf.zeros([3]), 1.0), r"got batch shape \(3,\) and seeds of shape \(2, 2\)"),
    ],
)
def test_batches_that_do_not_fit_the_seeds(distribution: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_rows(distribution, some_seeds(2))


LOGITS = tf.constant([[1.0, 3.0, 2.0], [-1.0, -2.0, -3.0]])
DETERMINISTIC = {
    "normal": (tfd.Normal([1.0, 2.0], 3.0), [1, 2]),
    "normals": (tfd.Independent(tfd.Normal(LOGITS, 3.0), 1), LOGITS),
    "diagonal_normal": (tfd.MultivariateNormalDiag(LOGITS, [1.0, 2.0, 3.0]), LOGITS),
    "full_normal": (tfd.MultivariateNormalTriL(LOGITS, tf.eye(3, batch_shape=[2])), LOGITS),
    "categorical": (tfd.Categorical(logits=LOGITS), [1, 0]),
    "categoricals": (tfd.Independent(tfd.Categorical(logits=LOGITS[tf.newaxis]), 1), [[1, 0]]),
    "one_hot": (tfd.OneHotCategorical(logits=LOGITS), [[0, 1, 0], [1, 0, 0]]),
    "bernoullis": (tfd.Independent(tfd.Bernoulli(logits=LOGITS), 1), [[1, 1, 1], [0, 0, 0]]),
    "beta": (tfd.Beta([2.0, 3.0], [2.0, 2.0]), [0.5, 2 / 3]),
    "beta_without_inner_maximum": (tfd.Beta([0.5, 3.0], [1.5, 2.0]), [0.5 / 2, 2 / 3]),
    "mixture": (
        tfd.MixtureSameFamily(tfd.Categorical(probs=[[0.25, 0.75]]), tfd.Normal([[1.0, 5.0]], 1.0)),
        [0.25 * 1 + 0.75 * 5],
    ),
    "squashed": (
        tfd.TransformedDistribution(tfd.Independent(tfd.Normal(LOGITS, 1.0), 1), tfb.Tanh()),
        np.tanh(LOGITS),
    ),
    "squashed_inside": (
        tfd.Independent(tfd.TransformedDistribution(tfd.Normal(LOGITS, 1.0), tfb.Tanh()), 1),
        np.tanh(LOGITS),
    ),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_actions(name: str) -> None:
    distribution, expected = DETERMINISTIC[name]
    action = deterministic_action(distribution)
    assert action.dtype == distribution.dtype
    np.testing.assert_allclose(action, expected, rtol=1e-6)


class Featureless(tfd.Distribution):
    """Neither mode nor mean."""

    def __init__(self) -> None:
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, False)


def test_nothing_deterministic() -> None:
    with pytest.raises(TypeError, match="Featureless has neither a mode nor a mean"):
        deterministic_action(Featureless())
