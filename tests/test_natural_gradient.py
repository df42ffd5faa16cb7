"""The policy step against dense linear algebra in float64, and in every way it can be refused."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo
from long_forms import covering, long, only
from oracles import as_float64, flatten, kl_by_rows, score_fisher, weighted_mean

from trpo_tf.conjugate_gradient import conjugate_gradient
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import Backtracking, FillTrustRegion
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import policy_version
from trpo_tf.preconditioner import DiagonalPreconditioner
from trpo_tf.types import Batch, StepStatus, UpdateInfo

tfd = tfp.distributions
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
NUM_ROWS = 30
DAMPING = 0.05
MAX_KL = 0.01


def optimizer(execution: Execution = Execution.GRAPH, **settings: Any) -> NaturalGradientOptimizer:
    settings = {"damping": DAMPING, **settings}
    return NaturalGradientOptimizer(KLConstraint(MAX_KL), execution=execution, **settings)


def problem(
    kind: str, dtype: str = "float64", weights: np.ndarray | None = None
) -> tuple[keras.Model, Batch]:
    policy = zoo.make(kind, (3,), dtype)
    batch = zoo.draw_batch(
        policy, zoo.draw_observations(kind, NUM_ROWS, seed=2, dtype=dtype), seed=3
    )
    if weights is not None:
        batch = batch._replace(weights=weights.astype(dtype))
    return policy, batch


def variables(policy: keras.Model) -> list[tf.Variable]:
    return [variable.value for variable in policy.trainable_variables]


def numbers(policy: keras.Model) -> np.ndarray:
    return flatten(policy.trainable_variables)


def dense_gradient(policy: keras.Model, batch: Batch) -> np.ndarray:
    """d/dθ of sum_n w_n min(10, π_old/β) π_θ/π_old A / sum_n w_n, in θ = old, rows by hand."""
    inputs = tf.nest.map_structure(tf.convert_to_tensor, batch.observations)
    with tf.GradientTape() as tape:
        log_probs = policy(inputs).log_prob(batch.actions)
    jacobian = tape.jacobian(
        log_probs, variables(policy), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    scores = np.concatenate([np.reshape(j, (NUM_ROWS, -1)) for j in jacobian], axis=1)
    ratio = np.minimum(10, np.exp(log_probs.numpy() - batch.behaviour_log_probs))
    coefficients = batch.weights * ratio * batch.advantages
    return coefficients @ scores / batch.weights.sum()


def dense_fisher(policy: keras.Model, batch: Batch) -> np.ndarray:
    inputs = tf.nest.map_structure(tf.convert_to_tensor, batch.observations)
    return score_fisher(lambda: policy(inputs), variables(policy), batch.weights)


def surrogate(policy: keras.Model, batch: Batch) -> float:
    inputs = tf.nest.map_structure(tf.convert_to_tensor, batch.observations)
    log_probs = as_float64(policy(inputs).log_prob(batch.actions))
    ratio = np.exp(log_probs - as_float64(batch.behaviour_log_probs))
    return weighted_mean(ratio * batch.advantages, batch.weights)


# --- direction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    only(("gaussian", "categorical", "full_gaussian", "masked_categorical"), zoo.SMALL_KINDS),
)
def test_the_step_is_the_natural_gradient(kind: str) -> None:
    """θ' − θ is parallel to (F + λI)⁻¹ g from a dense solve."""
    weights = np.random.default_rng(0).choice([0, 1, 2.5], size=NUM_ROWS)
    policy, batch = problem(kind, weights=weights)
    gradient, fisher = dense_gradient(policy, batch), dense_fisher(policy, batch)
    expected = np.linalg.solve(fisher + DAMPING * np.eye(len(fisher)), gradient)
    before = numbers(policy)
    info = optimizer(cg_steps=200, cg_tolerance=1e-12).step(policy, batch)
    assert bool(info.accepted)
    assert float(info.cg_residual_norm) < 1e-9
    step = numbers(policy) - before
    scale = (step @ expected) / (expected @ expected)
    assert scale > 0
    np.testing.assert_allclose(step, scale * expected, atol=1e-7 * np.abs(step).max())


@pytest.mark.parametrize(("execution", "dtype"), covering(Execution, ["float32", "float64"]))
def test_every_way_takes_the_same_step(execution: Execution, dtype: str) -> None:
    exact, batch = problem("gaussian")
    policy = zoo.make("gaussian", (3,), dtype)
    policy.set_weights([w.astype(dtype) for w in exact.get_weights()])
    start = numbers(policy)
    expected = optimizer(Execution.EAGER).step(exact, batch)
    info = optimizer(execution).step(policy, batch)
    tolerance = 2e-3 if dtype == "float32" else 1e-8
    largest = np.abs(numbers(exact) - start).max()
    np.testing.assert_allclose(numbers(policy), numbers(exact), atol=tolerance * largest)
    for field in ("surrogate_after", "kl", "entropy", "max_kl", "step_size"):
        close = np.testing.assert_allclose
        close(getattr(info, field), getattr(expected, field), rtol=tolerance, err_msg=field)
    assert int(info.cg_iterations) == int(expected.cg_iterations) == 10


@pytest.mark.parametrize(
    ("kind", "execution"),
    [
        ("gaussian", Execution.XLA),
        ("categorical", Execution.EAGER),
        ("dict_observations", Execution.GRAPH),
        *long(
            [
                ("diagonal_gaussian", Execution.GRAPH),
                ("one_scale_gaussian", Execution.GRAPH),
                ("fixed_scale_gaussian", Execution.GRAPH),
            ],
        ),
    ],
)
def test_chunks_change_nothing_but_rounding(execution: Execution, kind: str) -> None:
    weights = np.random.default_rng(0).choice([0, 1, 2.5], size=NUM_ROWS)
    results = []
    for chunk_rows in (None, 7, 100):
        policy, batch = problem(kind, weights=weights)
        info = optimizer(execution, chunk_rows=chunk_rows).step(policy, batch)
        results.append((numbers(policy), info))
    for values, info in results[1:]:
        np.testing.assert_allclose(values, results[0][0], rtol=1e-7, atol=1e-9)
        for got, expected in zip(info, results[0][1], strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_chunks_of_pictures() -> None:
    results = []
    for chunk_rows in (None, 4):
        policy = zoo.make("image", (), "float64")
        batch = zoo.draw_batch(policy, zoo.draw_observations("image", 10, seed=1), seed=1)
        optimizer(chunk_rows=chunk_rows, cg_steps=3).step(policy, batch)
        results.append(numbers(policy))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6, atol=1e-9)


def test_fisher_on_some_rows_gradient_on_all() -> None:
    """Every third row: found out by trying which rows explain the step."""
    policy, batch = problem("gaussian")
    inputs, gradient = batch.observations, dense_gradient(policy, batch)
    before = numbers(policy)
    fishers = np.stack(
        [
            score_fisher(lambda row=row: policy(inputs[row : row + 1]), variables(policy))
            for row in range(NUM_ROWS)
        ]
    )
    info = optimizer(cg_steps=200, cg_tolerance=1e-13, fisher_fraction=1 / 3).step(policy, batch)
    assert bool(info.accepted)
    direction = (numbers(policy) - before) / float(info.step_size)
    # direction is x / max|g|, and (Σ_n u_n F_n + λI) x = g is linear in the rows' shares u.
    residual = gradient / np.abs(gradient).max() - DAMPING * direction
    shares, *_ = np.linalg.lstsq((fishers @ direction).T, residual, rcond=None)
    prediction = shares @ (fishers @ direction)
    np.testing.assert_allclose(prediction, residual, atol=1e-8)
    whole = fishers.mean(axis=0) @ direction
    assert np.abs(whole - residual).max() > 1e-3


def test_preconditioning_changes_the_path_not_the_end() -> None:
    ends, iterations = [], []
    for preconditioner in (None, DiagonalPreconditioner(num_probes=4)):
        policy, batch = problem("state_dependent_gaussian")
        info = optimizer(
            cg_steps=300, cg_tolerance=1e-11, preconditioner=preconditioner, damping=1e-3
        ).step(policy, batch)
        ends.append(numbers(policy))
        iterations.append(int(info.cg_iterations))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5, atol=1e-7)
    assert iterations[0] != iterations[1]


# --- length and report --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "execution"),
    only(
        (("gaussian", Execution.XLA), ("categorical", Execution.EAGER)),
        itertools.product(
            ["full_gaussian", "categorical", "gaussian", "multi_binary"], list(Execution)
        ),
    ),
)
def test_fills_the_region_and_reports_what_is_true(kind: str, execution: Execution) -> None:
    policy, batch = problem(kind, "float32")
    inputs = tf.nest.map_structure(tf.convert_to_tensor, batch.observations)
    old = policy(inputs)
    entropy = weighted_mean(as_float64(old.entropy()))
    before = surrogate(policy, batch)
    info = optimizer(execution).step(policy, batch)
    assert bool(info.accepted)
    assert StepStatus(int(info.status)) is StepStatus.ACCEPTED
    assert 0.9 * MAX_KL <= float(info.kl) <= MAX_KL
    np.testing.assert_allclose(info.kl, weighted_mean(kl_by_rows(old, policy(inputs))), rtol=1e-3)
    np.testing.assert_allclose(info.surrogate_before, before, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(info.surrogate_after, surrogate(policy, batch), rtol=1e-3, atol=1e-5)
    assert float(info.surrogate_after) > float(info.surrogate_before)
    np.testing.assert_allclose(info.entropy, entropy, rtol=1e-4)
    np.testing.assert_allclose(info.max_kl, MAX_KL, rtol=1e-4)
    np.testing.assert_allclose(info.effective_sample_size, 1, rtol=1e-5)
    assert float(info.behaviour_kl) < 1e-10
    assert int(info.cg_iterations) == 10
    assert 0 < float(info.cg_residual_norm) < 1


def test_the_classic_length() -> None:
    """√(2δ/xᵀ(F+λI)x) with x from a dense solve, the first candidate of the classic search."""
    policy, batch = problem("categorical")
    gradient, fisher = dense_gradient(policy, batch), dense_fisher(policy, batch)
    matrix = fisher + DAMPING * np.eye(len(fisher))
    solution = np.linalg.solve(matrix, gradient)
    expected = np.sqrt(2 * MAX_KL / (solution @ matrix @ solution)) * solution
    before = numbers(policy)
    info = optimizer(cg_steps=200, cg_tolerance=1e-12, line_search=Backtracking()).step(
        policy, batch
    )
    assert bool(info.accepted)
    step = numbers(policy) - before
    np.testing.assert_allclose(step, expected * 0.8 ** int(info.num_backtracks), rtol=1e-5)
    assert float(info.kl) < MAX_KL


def test_filling_goes_further_than_the_classic_length() -> None:
    lengths = []
    for search in (Backtracking(), FillTrustRegion()):
        policy, batch = problem("gaussian")
        info = optimizer(line_search=search, damping=1.0).step(policy, batch)
        lengths.append(float(info.kl))
    assert lengths[0] < 0.7 * MAX_KL
    assert lengths[1] >= 0.9 * MAX_KL


@pytest.mark.parametrize("scale", only((1e-18, 1e18), [1e-18, 1e-6, 1e6, 1e18]))
def test_the_unit_of_advantages_does_not_matter(scale: float) -> None:
    steps = []
    for factor in (1.0, scale):
        policy, batch = problem("gaussian", "float32")
        before = numbers(policy)
        info = optimizer().step(
            policy, batch._replace(advantages=batch.advantages * np.float32(factor))
        )
        assert bool(info.accepted)
        steps.append(numbers(policy) - before)
    np.testing.assert_allclose(steps[1], steps[0], atol=1e-3 * np.abs(steps[0]).max())


def test_max_kl_follows_its_schedule_and_the_caller() -> None:
    policy, batch = problem("gaussian")
    schedule = keras.optimizers.schedules.PolynomialDecay(0.02, 10, 0.01)
    scheduled = NaturalGradientOptimizer(KLConstraint(schedule), execution=Execution.GRAPH)
    start = policy.get_weights()
    for version, expected in ((0, 0.02), (10, 0.01)):
        policy.set_weights(start)
        policy_version(policy).assign(version)
        np.testing.assert_allclose(scheduled.step(policy, batch).max_kl, expected, rtol=1e-6)
    policy.set_weights(start)
    info = scheduled.step(policy, batch, max_kl=0.005)
    np.testing.assert_allclose(info.max_kl, 0.005, rtol=1e-6)


@pytest.mark.parametrize(
    "kind",
    only(
        ("gaussian", "dict_observations", "full_gaussian", "diagonal_gaussian", "categorical"),
        zoo.KINDS,
    ),
)
def test_every_trainable_variable_moves(kind: str) -> None:
    """The free deviations and extras too; they are easily forgotten."""
    policy = zoo.make(kind, (8,))
    batch = zoo.draw_batch(policy, zoo.draw_observations(kind, 40, seed=0), seed=0)
    before = [v.numpy() for v in policy.trainable_variables]
    optimizer = NaturalGradientOptimizer(KLConstraint(), execution=Execution.GRAPH)
    assert bool(optimizer.step(policy, batch).accepted)
    for variable, old in zip(policy.trainable_variables, before, strict=True):
        assert np.any(variable.numpy() != old), variable.path


# --- off policy ---------------------------------------------------------------------------------


def test_stale_rows_are_weighed_and_the_region_shrinks() -> None:
    policy, batch = problem("gaussian")
    differences = np.random.default_rng(1).normal(scale=0.3, size=NUM_ROWS)
    differences[0] = 4.0
    batch = batch._replace(behaviour_log_probs=batch.behaviour_log_probs - differences)
    ratio = np.exp(differences)
    travelled = np.mean(np.expm1(differences) - differences)
    gradient, fisher = dense_gradient(policy, batch), dense_fisher(policy, batch)
    expected = np.linalg.solve(fisher + DAMPING * np.eye(len(fisher)), gradient)
    before = numbers(policy)
    max_kl = 0.5
    info = optimizer(cg_steps=200, cg_tolerance=1e-12).step(policy, batch, max_kl=max_kl)
    step = numbers(policy) - before
    scale = (step @ expected) / (expected @ expected)
    np.testing.assert_allclose(step, scale * expected, atol=1e-7 * np.abs(step).max())
    np.testing.assert_allclose(info.behaviour_kl, travelled, rtol=1e-9)
    left = max_kl - (np.sqrt(travelled * (max_kl + travelled / 4)) - travelled / 2)
    np.testing.assert_allclose(info.max_kl, left, rtol=1e-9)
    assert 0.9 * left <= float(info.kl) <= left
    size = ratio.sum() ** 2 / (NUM_ROWS * np.sum(ratio**2))
    np.testing.assert_allclose(info.effective_sample_size, size, rtol=1e-9)


def test_given_importance_weights_take_the_place_of_computed_ones() -> None:
    steps = []
    for scale in (1.0, 2.0):
        policy, batch = problem("gaussian")
        batch = batch._replace(
            behaviour_log_probs=np.full(NUM_ROWS, np.nan),
            advantages=batch.advantages / scale,
            importance_weights=np.full(NUM_ROWS, scale),
        )
        info = optimizer().step(policy, batch)
        np.testing.assert_allclose(info.max_kl, MAX_KL, rtol=1e-6)
        steps.append(numbers(policy))
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-12)


def test_given_importance_weights_have_their_sample_size() -> None:
    policy, batch = problem("gaussian")
    given = np.arange(NUM_ROWS, dtype=np.float64)
    info = optimizer().step(policy, batch._replace(importance_weights=given))
    size = given.sum() ** 2 / (NUM_ROWS * np.sum(given**2))
    np.testing.assert_allclose(info.effective_sample_size, size, rtol=1e-9)


# --- refusals -----------------------------------------------------------------------------------


def poisoned(batch: Batch, field: str, value: float) -> Batch:
    rows = np.array(getattr(batch, field))
    rows[3] = value
    return batch._replace(**{field: rows})


@ALL_WAYS
def test_refused_steps_change_no_bit(execution: Execution) -> None:
    policy, batch = problem("gaussian", "float32")
    # Adding zero would turn this into +0.
    policy.trainable_variables[1].assign([-0.0] * 3)
    step = optimizer(execution).step
    zeros = np.zeros(NUM_ROWS, np.float32)
    cases = {
        "zero advantages": (batch._replace(advantages=zeros), StepStatus.ZERO_GRADIENT),
        "no rows": (batch._replace(weights=zeros), StepStatus.ZERO_GRADIENT),
    }
    # An infinite observation is clipped by the normaliser; that it came at all, TRPO refuses.
    for field in ("advantages", "observations", "actions"):
        for value in (np.nan,) if field == "observations" else (np.nan, np.inf, -np.inf):
            bad = poisoned(batch, field, value)
            cases[f"{field} {value}"] = (bad, StepStatus.NON_FINITE_GRADIENT)
    bad = poisoned(batch, "behaviour_log_probs", np.nan)
    cases["behaviour"] = (bad, StepStatus.NON_FINITE_GRADIENT)
    before = policy.get_weights()
    for name, (bad_batch, status) in cases.items():
        info = step(policy, bad_batch)
        assert not bool(info.accepted), name
        assert StepStatus(int(info.status)) is status, name
        assert float(info.kl) == float(info.step_size) == 0, name
        for old, new in zip(before, policy.get_weights(), strict=True):
            assert old.tobytes() == new.tobytes(), name
    assert bool(step(policy, batch).accepted)


@ALL_WAYS
def test_bad_numbers_in_rows_of_no_weight_do_no_harm(execution: Execution) -> None:
    policy, batch = problem("gaussian", "float32")
    weights = np.ones(NUM_ROWS, np.float32)
    weights[3] = 0
    clean = batch._replace(weights=weights)
    dirty = clean
    for field in ("advantages", "observations", "actions", "behaviour_log_probs"):
        dirty = poisoned(dirty, field, np.nan)
    start = policy.get_weights()
    compiled = optimizer(execution)
    ends = []
    for some in (clean, dirty):
        policy.set_weights(start)
        assert bool(compiled.step(policy, some).accepted)
        ends.append(numbers(policy))
    np.testing.assert_array_equal(*ends)


class Explosive(keras.Model):
    """A policy whose numbers turn to NaN as soon as its weight leaves a small interval."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.add_weight(shape=(1,), initializer="zeros", name="weight")

    def call(self, observations: Any) -> Any:
        weight = tf.convert_to_tensor(self.weight)
        safe = tf.where(tf.abs(weight) < 1e-9, weight, tf.constant(np.nan))
        return tfd.Independent(tfd.Normal(observations * safe, 1.0), 1)


@ALL_WAYS
def test_candidates_that_are_nan_are_refused(execution: Execution) -> None:
    policy = Explosive()
    observations = np.ones((5, 1), np.float32)
    policy(observations)
    batch = Batch(
        observations,
        np.ones((5, 1), np.float32),
        np.ones(5, np.float32),
        np.asarray(policy(observations).log_prob(np.ones((5, 1), np.float32))),
        np.ones(5, np.float32),
    )
    search = FillTrustRegion(max_evaluations=8)
    info = optimizer(execution, line_search=search).step(policy, batch)
    assert StepStatus(int(info.status)) is StepStatus.KL_TOO_LARGE
    assert int(info.num_backtracks) == 8
    np.testing.assert_array_equal(policy.weight, [0.0])


def test_constant_advantages_are_no_crime() -> None:
    """Their expected gradient is 0, the sampled one is not: the step keeps inside the region."""
    policy, batch = problem("categorical", "float32")
    info = optimizer().step(policy, batch._replace(advantages=np.ones(NUM_ROWS, np.float32)))
    assert bool(info.accepted) or int(info.status) == StepStatus.NO_IMPROVEMENT
    assert float(info.kl) <= MAX_KL * (1 + 1e-3)


# --- as a part ----------------------------------------------------------------------------------


def test_batches_from_a_tf_data_pipeline() -> None:
    policy, batch = problem("categorical", "float32")
    fields = batch._replace(importance_weights=np.ones(NUM_ROWS, np.float32))
    dataset = tf.data.Dataset.from_tensor_slices(fields._asdict()).batch(10)
    compiled = optimizer()
    infos = [compiled.step(policy, Batch(**part)) for part in dataset]
    assert len(infos) == 3
    assert all(isinstance(info, UpdateInfo) and bool(info.accepted) for info in infos)


def test_state_is_only_read() -> None:
    policy, batch = problem("gaussian", "float32")
    policy.update_statistics(batch.observations, batch.weights)
    before = [v.numpy() for v in policy.non_trainable_variables]
    version = int(policy.policy_version)
    optimizer().step(policy, batch)
    for old, variable in zip(before, policy.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert int(policy.policy_version) == version


class Returns(keras.Model):
    """A policy that returns what it is told to."""

    def __init__(self, make_output: Any) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)
        self.make_output = make_output

    def call(self, observations: Any) -> Any:
        return self.make_output(self.dense(observations))


@pytest.mark.parametrize(
    ("make_output", "error", "words"),
    [
        (lambda x: x, TypeError, "must return a tfp.distributions.Distribution, got"),
        (lambda x: tfd.Normal(x, 1.0), ValueError, "Independent"),
        (
            lambda x: tfd.TransformedDistribution(
                tfd.MultivariateNormalDiag(x, tf.ones_like(x)), tfp.bijectors.Tanh()
            ),
            None,
            "",
        ),
        (
            lambda x: tfd.MixtureSameFamily(
                tfd.Categorical(logits=x), tfd.Normal(x, tf.ones_like(x))
            ),
            TypeError,
            "no KL divergence registered",
        ),
    ],
)
def test_outputs_that_cannot_be_used(make_output: Any, error: Any, words: str) -> None:
    policy = Returns(make_output)
    observations = np.ones((4, 3), np.float32)
    actions = np.full((4, 2), 0.5, np.float32)
    ones = np.ones(4, np.float32)
    batch = Batch(observations, actions, np.arange(4, dtype=np.float32), ones, ones, ones)
    if error is None:
        assert bool(optimizer().step(policy, batch).accepted)
        return
    if "KL" in words:
        batch = batch._replace(actions=actions[:, 0])
    with pytest.raises(error, match=words):
        optimizer().step(policy, batch)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cg_steps": 0}, "cg_steps must be >= 1, got 0"),
        ({"damping": -0.1}, "damping must be >= 0 and finite, got -0.1"),
        ({"damping": float("nan")}, "damping must be >= 0 and finite"),
        ({"fisher_fraction": 0.0}, r"fisher_fraction must lie in \(0, 1\], got 0.0"),
        ({"fisher_fraction": 1.5}, "fisher_fraction must lie in"),
        ({"chunk_rows": 0}, "chunk_rows must be >= 1 or None, got 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        optimizer(**settings)


def test_the_parts_compose_by_hand() -> None:
    """Conjugate gradients, used alone, solve the same system as the step."""
    policy, batch = problem("categorical")
    gradient, fisher = dense_gradient(policy, batch), dense_fisher(policy, batch)
    matrix = tf.constant(fisher + DAMPING * np.eye(len(fisher)))
    before = numbers(policy)
    info = optimizer(cg_steps=5).step(policy, batch)
    result = conjugate_gradient(
        lambda vector: tf.linalg.matvec(matrix, vector),
        tf.constant(gradient / np.abs(gradient).max()),
        5,
    )
    np.testing.assert_allclose(
        numbers(policy) - before, float(info.step_size) * result.solution.numpy(), atol=1e-8
    )
    np.testing.assert_allclose(info.cg_residual_norm, result.residual_norm, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("categorical", {"actions": lambda rows: rows[:, None]}, r"actions must be \[N, \*\[\]\]"),
        ("gaussian", {"actions": lambda rows: rows[:, 0]}, r"actions must be \[N, \*\[2\]\]"),
        ("gaussian", {"advantages": lambda rows: rows[:, None]}, r"advantages must be \[N\]"),
        ("gaussian", {"weights": lambda rows: rows[:, None]}, r"must be \[N\]"),
        ("gaussian", {"advantages": lambda rows: rows[:-1]}, r"advantages must be \[N\]"),
    ],
)
def test_rows_of_a_shape_that_would_spread_over_others_are_refused(
    kind: str, changes: dict[str, Any], words: str
) -> None:
    policy, batch = problem(kind, "float32")
    spoilt = {
        name: change(tf.convert_to_tensor(getattr(batch, name))) for name, change in changes.items()
    }
    with pytest.raises(ValueError, match=words):
        optimizer().step(policy, batch._replace(**spoilt))
