"""The critic's fit against gradient descent written out in NumPy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.value_function import ValueFunction, make_value_function
from trpo_tf.value_regression import ValueRegression, _order

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
SPACE = gym.spaces.Box(-np.inf, np.inf, (3,))
NUM_ROWS = 20
RATE = 0.0625  # Keras keeps the rate in float32, which holds this one exactly


def linear_critic(dtype: str = "float64") -> ValueFunction:
    return make_value_function(SPACE, hidden_sizes=(), normalize_observations=False, dtype=dtype)


def data(dtype: str = "float64", num_rows: int = NUM_ROWS) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(num_rows, 3)).astype(dtype)
    targets = (observations @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=num_rows)).astype(dtype)
    weights = rng.choice([0.0, 1.0, 2.0], size=num_rows).astype(dtype)
    return observations, targets, weights


def regression(execution: Execution = Execution.GRAPH, **settings: Any) -> ValueRegression:
    settings = {"optimizer": keras.optimizers.SGD(RATE), **settings}
    return ValueRegression(execution=execution, **settings)


def numbers(critic: keras.Model) -> np.ndarray:
    return np.concatenate([np.ravel(v.numpy()) for v in critic.trainable_variables])


def descend(
    theta: np.ndarray, rows: tuple[np.ndarray, ...], scale: float, rate: float = RATE
) -> tuple[np.ndarray, float, float]:
    """One gradient step of the weighted mean of ((w s + b − target) / scale)², by hand."""
    observations, targets, weights = rows
    inputs = np.concatenate([observations, np.ones((len(targets), 1))], axis=1)
    errors = (inputs @ theta - targets) / scale
    gradient = 2 / scale * (weights * errors) @ inputs / weights.sum()
    return theta - rate * gradient, float(weights @ errors**2), float(weights.sum())


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunk_rows", [None, 7])
def test_full_batch_steps(execution: Execution, dtype: str, chunk_rows: int | None) -> None:
    critic = linear_critic(dtype)
    theta = numbers(critic).astype(np.float64)
    rows = data()
    fit = regression(execution, epochs=5, minibatch_size=None, chunk_rows=chunk_rows).fit
    observations, targets, weights = data(dtype)
    loss = fit(critic, observations, targets, weights, scale=2.0)
    for _ in range(5):
        theta, total, weight = descend(theta, rows, scale=2.0)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(numbers(critic), theta, rtol=tolerance)
    np.testing.assert_allclose(loss, total / weight, rtol=tolerance)


@ALL_WAYS
@pytest.mark.parametrize("size", [6, 20, 1])
def test_minibatches(execution: Execution, size: int) -> None:
    """20 rows in minibatches of 6: the last one holds the 2 that are left."""
    critic = linear_critic()
    theta = numbers(critic)
    observations, targets, weights = data()
    weights = weights + 0.5
    loss = regression(execution, epochs=3, minibatch_size=size).fit(
        critic, observations, targets, weights, seed=7
    )
    for epoch in range(3):
        totals = np.zeros(2)
        order = np.arange(NUM_ROWS) if size == NUM_ROWS else _order(NUM_ROWS, size, 7, epoch)
        for indices in np.reshape(order, (-1, size)):
            kept = indices[indices < NUM_ROWS]
            part = (observations[kept], targets[kept], weights[kept])
            theta, *added = descend(theta, part, scale=1.0)
            totals += added
    np.testing.assert_allclose(numbers(critic), theta, rtol=1e-10)
    np.testing.assert_allclose(loss, totals[0] / totals[1], rtol=1e-10)


@pytest.mark.parametrize(("num_rows", "size"), [(20, 6), (64, 64), (5, 2), (100, 7)])
def test_an_epoch_takes_every_row_once(num_rows: int, size: int) -> None:
    orders = [_order(num_rows, size, seed, epoch).numpy() for seed in (0, 1) for epoch in range(3)]
    for order in orders:
        assert order.shape == (-(-num_rows // size), size)
        assert sorted(order.ravel()[:num_rows].tolist()) == list(range(num_rows))
        assert np.all(order.ravel()[num_rows:] >= num_rows)
    assert len({tuple(order.ravel()) for order in orders}) == len(orders)
    again = _order(num_rows, size, 1, 2)
    np.testing.assert_array_equal(again, orders[-1])


def test_orders_are_uniform() -> None:
    """Where row 0 of 5 lands, over 500 epochs: chi-squared with 4 degrees below its 0.1 % point."""
    places = [int(np.argmin(_order(5, 5, 3, epoch).numpy().ravel())) for epoch in range(500)]
    counts = np.bincount(places, minlength=5)
    assert np.sum((counts - 100) ** 2 / 100) < 18.5


def test_every_way_and_chunks_agree_with_adam() -> None:
    ends = []
    for execution in Execution:
        critic = make_value_function(SPACE, hidden_sizes=(8,), dtype="float64", seed=1)
        fit = ValueRegression(epochs=3, minibatch_size=8, execution=execution).fit
        observations, targets, weights = data()
        fit(critic, observations, targets, weights)
        ends.append(numbers(critic))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-9)


def test_adam_by_hand() -> None:
    """Three full-batch steps with Keras's defaults; the slots live on between two fits."""
    critic = linear_critic()
    theta, rows = numbers(critic), data()
    fitting = ValueRegression(keras.optimizers.Adam(0.125), 1, minibatch_size=None)
    first, second = np.zeros(4), np.zeros(4)
    for step in range(1, 4):
        fitting.fit(critic, *rows)
        gradient = theta - descend(theta, rows, scale=1.0, rate=1.0)[0]
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        theta = theta - 0.125 * corrected * first / (np.sqrt(second) + 1e-7)
    np.testing.assert_allclose(numbers(critic), theta, rtol=1e-4)


def test_the_learning_rate_follows_its_schedule() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [RATE, 0.0])
    critic = linear_critic()
    theta, rows = numbers(critic), data()
    fitting = regression(optimizer=keras.optimizers.SGD(schedule), epochs=5, minibatch_size=None)
    fitting.fit(critic, *rows)
    for _ in range(3):
        theta, *_ = descend(theta, rows, scale=1.0)
    np.testing.assert_allclose(numbers(critic), theta, rtol=1e-6)
    assert int(fitting.optimizer.iterations) == 5


@ALL_WAYS
def test_rows_of_no_weight_do_not_count(execution: Execution) -> None:
    observations, targets, weights = data()
    kept = weights > 0
    poisoned = np.where(kept, targets, np.nan)
    ends = []
    for rows in (
        (observations, poisoned, weights),
        (observations[kept], targets[kept], weights[kept]),
    ):
        critic = linear_critic()
        regression(execution, epochs=3, minibatch_size=None).fit(critic, *rows)
        ends.append(numbers(critic))
    np.testing.assert_allclose(*ends, rtol=1e-10)


def test_no_weights_means_equal_weights() -> None:
    observations, targets, _ = data()
    ends = []
    for weights in (None, np.ones(NUM_ROWS), np.full(NUM_ROWS, 3.0)):
        critic = linear_critic()
        regression(minibatch_size=8).fit(critic, observations, targets, weights)
        ends.append(numbers(critic))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-10)


def test_no_epochs_change_nothing() -> None:
    critic = linear_critic()
    before = numbers(critic)
    loss = regression(epochs=0).fit(critic, *data())
    np.testing.assert_array_equal(numbers(critic), before)
    assert float(loss) == 0


def test_seeds_decide_the_order_and_nothing_else() -> None:
    ends = []
    for seed in (0, 0, 1):
        critic = linear_critic("float32")
        regression(Execution.XLA, minibatch_size=4).fit(critic, *data("float32"), seed=seed)
        ends.append(numbers(critic))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.any(ends[0] != ends[2])


def test_any_keras_model_and_nested_observations() -> None:
    inputs = {name: keras.Input((size,), name=name) for name, size in (("a", 2), ("b", 1))}
    joined = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    outputs = keras.layers.Reshape(())(keras.layers.Dense(1)(joined))
    critic = keras.Model(inputs, outputs)
    observations, targets, weights = data("float32")
    rows = {"a": observations[:, :2], "b": observations[:, 2:]}
    fitting = ValueRegression(keras.optimizers.Adam(0.05), minibatch_size=5)
    losses = [float(fitting.fit(critic, rows, targets, weights)) for _ in range(3)]
    assert losses[0] < np.average(targets**2, weights=weights)
    assert losses[-1] < losses[0]


def test_it_reaches_least_squares() -> None:
    critic = linear_critic()
    observations, targets, weights = data()
    regression(epochs=3000, minibatch_size=None).fit(critic, observations, targets, weights)
    inputs = np.concatenate([observations, np.ones((NUM_ROWS, 1))], axis=1)
    root = np.sqrt(weights)[:, None]
    expected, *_ = np.linalg.lstsq(root * inputs, root[:, 0] * targets, rcond=None)
    np.testing.assert_allclose(numbers(critic), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": -1}, "epochs must be >= 0, got -1"),
        ({"minibatch_size": 0}, "minibatch_size must be >= 1 or None, got 0"),
        ({"chunk_rows": 0}, "chunk_rows must be >= 1 or None, got 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ValueRegression(**settings)


def test_its_optimizer_is_built_once() -> None:
    critic, fitting = linear_critic(), ValueRegression()
    fitting.build(critic)
    variables = list(fitting.optimizer.variables)
    fitting.fit(critic, *data())
    assert all(a is b for a, b in zip(variables, fitting.optimizer.variables, strict=True))
    assert int(tf.convert_to_tensor(fitting.optimizer.iterations)) == 20


def test_a_fit_whose_slots_overflow_changes_neither_critic_nor_optimizer() -> None:
    critic = make_value_function(gym.spaces.Box(-1, 1, (2,)))
    regression = ValueRegression(epochs=1, minibatch_size=None)
    regression.build(critic)
    variables = [*critic.trainable_variables, *regression.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    regression.fit(critic, np.ones((4, 2), np.float32), np.full(4, 1e22, np.float32))
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_critic_that_has_no_variables_yet_is_built() -> None:
    observations, targets, _ = data("float32")
    critic = keras.Sequential([keras.layers.Dense(1), keras.layers.Reshape(())])
    fit = regression(epochs=200)
    loss = float(fit.fit(critic, observations, targets))
    assert loss < 0.5 * np.var(targets)
    assert len(fit.optimizer.variables) >= len(critic.trainable_variables)


def test_a_critic_with_an_axis_too_many_is_refused() -> None:
    observations, targets, _ = data("float32")
    critic = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"must return \[N\], got \(20, 1\)"):
        regression(epochs=1).fit(critic, observations, targets)
