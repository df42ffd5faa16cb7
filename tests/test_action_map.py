"""The action map against its formula in NumPy: bounds, rescaling, starts, dtypes, LiteRT."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from litert_runner import run_litert

from trpo_tf.action_map import to_env_actions
from trpo_tf.execution import Execution

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
MultiDiscrete, MultiBinary = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
INF = np.inf

BOXES = {
    "unit": Box(-1, 1, (3,)),
    "uneven": Box(np.float32([0, -2, 5]), np.float32([10, 3, 5.5])),
    "one_sided": Box(np.float32([-1, -INF, 0.1]), np.float32([INF, 0.3, 0.7])),
    "unbounded": Box(-INF, INF, (3,)),
    "scalar": Box(-0.4, 0.1, ()),
    "matrix": Box(-0.4, 0.1, (2, 2)),
    "float64": Box(-0.1, 0.7, (3,), np.float64),
    "float16": Box(-0.1, 0.7, (3,), np.float16),
    "huge": Box(-3e38, 3e38, (2,)),
    "wider_than_float32": Box(-1e300, 1e300, (2,), np.float64),
    "point": Box(0.3, 0.3, (2,)),
}


def numpy_map(space: Box, actions: np.ndarray, rescale: bool) -> np.ndarray:
    """In float64: affine where both bounds are finite, clip, cast."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    mapped = actions.astype(np.float64)
    if rescale:
        bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):
            mapped = np.where(bounded, low + (mapped + 1) * (high - low) / 2, mapped)
    return np.clip(mapped, low, high).astype(space.dtype)


def drawn(space: Box, dtype: str, num_rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    actions = rng.normal(scale=1.5, size=(num_rows, *space.shape))
    actions[:3] = np.array([-1, 0, 1]).reshape([3] + [1] * len(space.shape))
    return actions.astype(dtype)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in BOXES if name != "wider_than_float32"])
@pytest.mark.parametrize("execution", list(Execution))
def test_boxes(execution: Execution, name: str, dtype: str, rescale: bool) -> None:
    space = BOXES[name]
    actions = drawn(space, dtype)
    mapped = execution.compile(lambda a: to_env_actions(space, a, rescale))(tf.constant(actions))
    assert mapped.dtype == space.dtype
    assert mapped.shape == actions.shape
    tolerance = 3e-7 if "float32" in (dtype, space.dtype) else 1e-15
    if space.dtype == np.float16:
        tolerance = 1e-3
    np.testing.assert_allclose(
        mapped, numpy_map(space, actions, rescale), rtol=tolerance, atol=tolerance
    )
    # The space must take every action, to the last bit.
    assert all(space.contains(np.asarray(row)) for row in mapped.numpy())


@pytest.mark.parametrize("name", ["unit", "one_sided", "unbounded", "matrix"])
def test_without_rescaling_a_float32_box_is_numpys_clip(name: str) -> None:
    space = BOXES[name]
    actions = drawn(space, "float32")
    np.testing.assert_array_equal(
        to_env_actions(space, actions, False), np.clip(actions, space.low, space.high)
    )


def test_the_ends_are_reached_and_the_middle_is_the_middle() -> None:
    space = Box(np.float32([0, -4]), np.float32([10, -2]))
    mapped = to_env_actions(space, np.float32([[-1, -1], [1, 1], [0, 0], [-9, 9]]), True)
    np.testing.assert_array_equal(mapped, [[0, -4], [10, -2], [5, -3], [0, -2]])


def test_entries_without_two_bounds_are_not_rescaled() -> None:
    space = Box(np.float32([0, -INF, -5]), np.float32([10, 3, INF]))
    mapped = to_env_actions(space, np.float32([[0.5, 0.5, -7]]), True)
    np.testing.assert_array_equal(mapped, [[7.5, 0.5, -5]])


def test_bounds_that_the_actions_dtype_cannot_hold() -> None:
    space = BOXES["wider_than_float32"]
    mapped = to_env_actions(space, np.float32([[1, -1], [INF, -INF]]), False).numpy()
    np.testing.assert_array_equal(mapped[0], [1, -1])
    assert space.contains(mapped[1])


@pytest.mark.parametrize("rescale", [False, True])
def test_nan_stays_nan(rescale: bool) -> None:
    mapped = to_env_actions(BOXES["unit"], np.float32([[np.nan, INF, -INF]]), rescale)
    np.testing.assert_array_equal(mapped, [[np.nan, 1, -1]])


DISCRETE = {
    "discrete": (Discrete(3), np.int32([0, 2]), [0, 2]),
    "discrete_from_minus_two": (Discrete(3, start=-2), np.int32([0, 2]), [-2, 0]),
    "discrete_int32": (Discrete(3, start=7, dtype=np.int32), np.int32([0, 2]), [7, 9]),
    "discrete_uint8": (Discrete(6, start=250, dtype=np.uint8), np.int32([0, 5]), [250, 255]),
    "discrete_far": (Discrete(3, start=2**40), np.int32([0, 2]), [2**40, 2**40 + 2]),
    "multi_discrete": (MultiDiscrete([2, 3]), np.int32([[0, 2], [1, 0]]), [[0, 2], [1, 0]]),
    "multi_discrete_from": (
        MultiDiscrete([[2, 3], [4, 5]], start=[[-1, 0], [3, -7]]),
        np.int32([[[0, 2], [3, 4]], [[1, 1], [0, 0]]]),
        [[[-1, 2], [6, -3]], [[0, 1], [3, -7]]],
    ),
    "multi_binary": (MultiBinary(3), np.int32([[0, 1, 1]]), [[0, 1, 1]]),
}


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("execution", list(Execution))
def test_numbered_actions(execution: Execution, name: str) -> None:
    space, actions, expected = DISCRETE[name]
    mapped = execution.compile(lambda a: to_env_actions(space, a, True))(tf.constant(actions))
    assert mapped.dtype == space.dtype
    np.testing.assert_array_equal(mapped, expected)
    assert all(space.contains(row) for row in mapped.numpy())


@pytest.mark.parametrize("name", [*BOXES, *DISCRETE])
def test_the_same_in_litert(name: str) -> None:
    if name in BOXES:
        space, actions = BOXES[name], drawn(BOXES[name], "float32")
    else:
        space, actions, _ = DISCRETE[name]
    mapped = run_litert(lambda a: to_env_actions(space, a, True), actions)
    expected = to_env_actions(space, actions, True).numpy()
    assert mapped.dtype == expected.dtype
    np.testing.assert_allclose(mapped, expected, rtol=1e-6)


def test_unknown_number_of_rows() -> None:
    mapped = tf.function(
        lambda a: to_env_actions(BOXES["matrix"], a, True),
        input_signature=[tf.TensorSpec([None, 2, 2], tf.float32)],
    )
    assert mapped(np.zeros([5, 2, 2], np.float32)).shape == (5, 2, 2)
    assert mapped(np.zeros([0, 2, 2], np.float32)).shape == (0, 2, 2)
