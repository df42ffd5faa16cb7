"""From drawn actions to those of the environment: the one map that samplers and exports share."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf.action_bounds import middle_and_half_width


def to_env_actions(space: gym.Space, actions: Any, rescale_actions: bool) -> tf.Tensor:
    """Turns actions as drawn from a policy's distribution into actions for the environment.

    Box: with `rescale_actions`, an entry whose bounds are both finite is first mapped from
    [-1, 1] to them,

        a <- (low + high) / 2 + a (high - low) / 2;

    then all are clipped to the bounds, in the dtype of the actions (with bounds rounded inwards
    where that dtype is narrower than the space's, so that what comes out lies in the space).
    Discrete and MultiDiscrete: their start is added, since distributions count from 0.
    MultiBinary: nothing. In the end all are cast to the space's dtype. NaN stays NaN.

    Args:
        space: a supported action space of a single environment.
        actions: [N, *A], as drawn.
        rescale_actions: whether the policy acts in [-1, 1]; nothing but a Box heeds it.

    Returns:
        [N, *A] of the space's dtype.

    Example:
        >>> space = gym.spaces.Box(np.float32([0, -2]), np.float32([10, 2]))
        >>> to_env_actions(space, [[0.5, -1.5]], rescale_actions=True).numpy()
        array([[ 7.5, -2. ]], dtype=float32)
    """
    actions = tf.convert_to_tensor(actions)
    if isinstance(space, gym.spaces.Box):
        return tf.cast(_box_actions(space, actions, rescale_actions), space.dtype)
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)) and np.any(space.start):
        actions = tf.cast(actions, tf.int64) + np.asarray(space.start, np.int64)
    return tf.cast(actions, space.dtype)


def _box_actions(space: gym.spaces.Box, actions: tf.Tensor, rescale_actions: bool) -> tf.Tensor:
    dtype = actions.dtype.as_numpy_dtype
    low, high = _rounded(space.low, dtype, np.inf), _rounded(space.high, dtype, -np.inf)
    if rescale_actions:
        is_bounded = np.isfinite(low) & np.isfinite(high)
        middle, half_width = middle_and_half_width(low, high, is_bounded)
        actions = middle.astype(dtype) + actions * half_width.astype(dtype)
    if np.any(np.isfinite(low)):
        actions = tf.maximum(actions, low)
    if np.any(np.isfinite(high)):
        actions = tf.minimum(actions, high)
    return actions


def _rounded(bounds: np.ndarray, dtype: Any, towards: float) -> np.ndarray:
    """Bounds in another dtype, the nearest that do not lie outside the given ones."""
    with np.errstate(over="ignore"):
        nearest = bounds.astype(dtype)
    outside = nearest < bounds if towards > 0 else nearest > bounds
    return np.where(outside, np.nextafter(nearest, dtype(towards)), nearest)
