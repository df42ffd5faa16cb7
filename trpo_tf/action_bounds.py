"""The bounds of a Box in the unit in which its actions are drawn, and means kept near them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf


class ActionBounds:
    """Where a Box's drawn actions begin to be clipped; infinite where they are not.

    Args:
        space: of the actions, *A.
        rescale_actions: whether they are drawn in [−1, 1] and mapped to bounds that are finite.

    Attributes:
        low: [*A] float64.
        high: [*A] float64.
    """

    def __init__(self, space: gym.spaces.Box, rescale_actions: bool) -> None:
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._is_bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
        if rescale_actions:
            low, high = np.where(self._is_bounded, [-1.0], low), np.where(self._is_bounded, 1, high)
        self.low, self.high = low, high
        self._middle, self._half = middle_and_half_width(low, high, self._is_bounded)

    def limited(self, means: Any, mean_limit: float) -> Any:
        """Means [N, *A] to middle + k h tanh(mean / (k h)), h half the width, k the limit.

        An entry without two bounds that differ is left as it is.

        >>> bounds = ActionBounds(gym.spaces.Box(0.0, 10.0, (1,)), rescale_actions=False)
        >>> means = bounds.limited(tf.constant([[-100.0], [0.0], [1.0]]), mean_limit=1.5)
        >>> means.numpy().ravel().round(2)
        array([-2.5 ,  5.  ,  5.99], dtype=float32)
        """
        dtype = means.dtype.as_numpy_dtype
        with np.errstate(over="ignore"):
            middle, reach = self._middle.astype(dtype), (mean_limit * self._half).astype(dtype)
        # Bounds that the float type cannot hold are none.
        has_limit = self._is_bounded & np.isfinite(reach) & np.isfinite(middle) & (reach > 0)
        middle, reach = np.where(has_limit, middle, 0), np.where(has_limit, reach, 1)
        return tf.where(has_limit, middle + reach * tf.tanh(means / reach), means)


def middle_and_half_width(
    low: np.ndarray, high: np.ndarray, is_bounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each entry's bounds, [*A] both; 0 and 1 where it is not bounded."""
    # Halves first: the width of a box can overflow.
    half_low, half_high = np.where(is_bounded, low, -1) / 2, np.where(is_bounded, high, 1) / 2
    return half_low + half_high, half_high - half_low
