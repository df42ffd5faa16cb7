"""Bounds in the unit of the draws, and means that a tanh keeps near them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.action_bounds import ActionBounds
from trpo_tf.execution import Execution

HALF_BOUNDED = gym.spaces.Box(np.float32([-3, 0, 2]), np.float32([1, np.inf, 2]))


@pytest.mark.parametrize(
    ("rescale_actions", "low", "high"),
    [(False, [-3, 0, 2], [1, np.inf, 2]), (True, [-1, 0, 2], [1, np.inf, 2])],
)
def test_bounds_of_what_is_drawn(
    rescale_actions: bool, low: list[float], high: list[float]
) -> None:
    bounds = ActionBounds(HALF_BOUNDED, rescale_actions)
    np.testing.assert_array_equal(bounds.low, low)
    np.testing.assert_array_equal(bounds.high, high)


@pytest.mark.parametrize("execution", list(Execution))
@pytest.mark.parametrize(
    ("rescale_actions", "middle", "half"), [(False, -1.0, 2.0), (True, 0.0, 1.0)]
)
def test_means_near_the_bounds(
    execution: Execution, rescale_actions: bool, middle: float, half: float
) -> None:
    """Of three entries one has two bounds that differ; the others' means stay as they were."""
    bounds = ActionBounds(HALF_BOUNDED, rescale_actions)
    means = np.random.default_rng(0).normal(0, 5, size=(20, 3))
    limited = execution.compile(lambda rows: bounds.limited(rows, 1.5))(tf.constant(means))
    reach = 1.5 * half
    expected = middle + reach * np.tanh(means[:, 0] / reach)
    np.testing.assert_allclose(limited[:, 0], expected, rtol=1e-9)
    np.testing.assert_array_equal(limited[:, 1:], means[:, 1:])


def test_near_the_middle_a_mean_is_itself() -> None:
    bounds = ActionBounds(gym.spaces.Box(-0.4, 0.4, (2, 2)), rescale_actions=False)
    means = tf.fill([3, 2, 2], tf.constant(1e-3, tf.float64))
    np.testing.assert_allclose(bounds.limited(means, 1.0), means, rtol=1e-5)


@pytest.mark.parametrize("mean_limit", [1.0, 1.5])
@pytest.mark.parametrize(
    ("widest", "dtype"),
    [
        (np.finfo(np.float64).max, "float64"),
        (np.finfo(np.float32).max, "float32"),
        (1e300, "float32"),
    ],
)
def test_a_box_as_wide_as_the_float_type_or_wider(
    widest: float, dtype: str, mean_limit: float
) -> None:
    """A limit that the type cannot hold is none."""
    box = gym.spaces.Box(-np.float64(widest), np.float64(widest), (1,), np.float64)
    means = np.array([[-1e20], [0.0], [1e30]], dtype)
    limited = ActionBounds(box, rescale_actions=False).limited(tf.constant(means), mean_limit)
    np.testing.assert_allclose(limited, means, rtol=1e-6)
