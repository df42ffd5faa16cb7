"""Heads: which distribution each action space gets, with parameters written out in NumPy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from oracles import log_softmax

from trpo_tf.execution import Execution
from trpo_tf.heads import make_head

tfd = tfp.distributions
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
FEATURES = np.random.default_rng(0).normal(size=(6, 5))


def built(space: gym.Space, state_dependent: bool = False, dtype: str = "float64") -> Any:
    head = make_head(space, -0.7, state_dependent, tfd.Normal, dtype, seed=0)
    head.build((None, 5))
    rng = np.random.default_rng(1)
    for variable in head.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape).astype(dtype))
    return head


def dense(layer: keras.layers.Dense) -> np.ndarray:
    return FEATURES @ layer.kernel.numpy() + layer.bias.numpy()


def parameters(head: Any, names: list[str], execution: Execution) -> list[np.ndarray]:
    """Of the distribution inside `Independent`, if there is one."""

    def read(features: Any) -> list[Any]:
        distribution = head(features)
        distribution = getattr(distribution, "distribution", distribution)
        return [tf.convert_to_tensor(getattr(distribution, name)) for name in names]

    return [part.numpy() for part in execution.compile(read)(tf.constant(FEATURES))]


@ALL_WAYS
@pytest.mark.parametrize("shape", [(2,), (), (2, 3)])
def test_gaussian(execution: Execution, shape: tuple[int, ...]) -> None:
    head = built(gym.spaces.Box(-1, 1, shape))
    loc, scale = parameters(head, ["loc", "scale"], execution)
    np.testing.assert_allclose(loc, dense(head.mean).reshape(6, *shape), rtol=1e-10)
    expected = np.exp(head.log_std.numpy()).reshape(1, *shape)
    np.testing.assert_allclose(scale, np.broadcast_to(expected, loc.shape), rtol=1e-10)
    distribution = head(FEATURES)
    assert distribution.batch_shape == (6,)
    assert distribution.event_shape == shape


@ALL_WAYS
def test_state_dependent_gaussian(execution: Execution) -> None:
    head = built(gym.spaces.Box(-1, 1, (2,)), state_dependent=True)
    loc, scale = parameters(head, ["loc", "scale"], execution)
    np.testing.assert_allclose(loc, dense(head.mean), rtol=1e-10)
    np.testing.assert_allclose(scale, np.exp(dense(head.log_std) - 0.7), rtol=1e-10)


def test_the_distribution_of_a_box_is_the_callers() -> None:
    """A head hands means and deviations of the actions' shape to what makes its distribution."""
    shapes = []

    def make(loc: Any, scale: Any) -> Any:
        shapes.append((loc.shape, scale.shape))
        return tfd.Laplace(loc, scale)

    for state_dependent in (False, True):
        space = gym.spaces.Box(-1, 1, (2, 3))
        head = make_head(space, -0.7, state_dependent, make, "float64", seed=0)
        assert isinstance(head(FEATURES).distribution, tfd.Laplace)
    assert shapes == [((6, 2, 3), (6, 2, 3))] * 2


@ALL_WAYS
def test_categorical(execution: Execution) -> None:
    head = built(gym.spaces.Discrete(4, start=-2))
    (logits,) = parameters(head, ["logits"], execution)
    np.testing.assert_allclose(logits, dense(head.logits), rtol=1e-10)
    actions = head(FEATURES).sample(1000, seed=0).numpy()
    assert set(np.unique(actions)) == {0, 1, 2, 3}


@ALL_WAYS
@pytest.mark.parametrize("nvec", [[2, 3], [4], [[2, 1], [3, 2]]])
def test_multi_discrete(execution: Execution, nvec: list[Any]) -> None:
    """The log-probability is the sum of those of separate categoricals, each as wide as its own."""
    head = built(gym.spaces.MultiDiscrete(nvec))
    counts = np.array(nvec)
    outputs = dense(head.logits).reshape(6, *counts.shape, counts.max())
    rng = np.random.default_rng(2)
    actions = rng.integers(0, counts, size=(6, *counts.shape))
    expected = np.zeros(6)
    entropy = np.zeros(6)
    for row in range(6):
        for place in np.ndindex(counts.shape):
            log_probs = log_softmax(outputs[row][place][: counts[place]])
            expected[row] += log_probs[actions[row][place]]
            entropy[row] -= np.sum(np.exp(log_probs) * log_probs)
    log_probs, entropies = execution.compile(
        lambda features, actions: (head(features).log_prob(actions), head(features).entropy())
    )(tf.constant(FEATURES), tf.constant(actions, tf.int32))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-9)
    np.testing.assert_allclose(entropies, entropy, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_choices_that_do_not_exist_are_never_drawn(dtype: str) -> None:
    head = built(gym.spaces.MultiDiscrete([1, 5, 2]), dtype=dtype)
    distribution = head(FEATURES.astype(dtype))
    actions = distribution.sample(2000, seed=0).numpy()
    np.testing.assert_array_equal(actions.max(axis=(0, 1)), [0, 4, 1])
    probabilities = distribution.distribution.probs_parameter().numpy()
    np.testing.assert_array_equal(probabilities[:, 0, 1:], 0)
    np.testing.assert_array_equal(probabilities[:, 2, 2:], 0)


@ALL_WAYS
@pytest.mark.parametrize("shape", [3, (2, 2)])
def test_multi_binary(execution: Execution, shape: Any) -> None:
    space = gym.spaces.MultiBinary(shape)
    head = built(space)
    (logits,) = parameters(head, ["logits"], execution)
    np.testing.assert_allclose(logits, dense(head.logits).reshape(6, *space.shape), rtol=1e-10)
    assert head(FEATURES).event_shape == space.shape


def test_the_first_policy_hardly_depends_on_the_state() -> None:
    head = make_head(gym.spaces.Box(-1, 1, (2,)), -0.5, False, tfd.Normal, "float32", seed=0)
    head.build((None, 5))
    distribution = head(FEATURES.astype(np.float32))
    assert np.abs(distribution.mean()).max() < 0.1
    np.testing.assert_allclose(distribution.stddev(), np.full((6, 2), np.exp(-0.5)), rtol=1e-6)
    singular_values = np.linalg.svd(head.mean.kernel.numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values, 0.01, rtol=1e-4)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(-1, 1, (2,)),
        gym.spaces.Discrete(3),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(2),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes(space: gym.Space, dtype: str) -> None:
    head = built(space, dtype=dtype)
    assert {variable.dtype for variable in head.variables} == {dtype}
    distribution = head(FEATURES.astype(dtype))
    assert distribution.log_prob(distribution.sample(seed=0)).dtype == dtype
    expected = dtype if isinstance(space, gym.spaces.Box) else tf.int32
    assert distribution.dtype == expected


def test_deviation_and_mean_layers_start_from_different_weights() -> None:
    head = make_head(gym.spaces.Box(-1, 1, (2,)), 0.0, True, tfd.Normal, "float32", seed=0)
    head.build((None, 5))
    assert np.any(head.mean.kernel.numpy() != head.log_std.kernel.numpy())
