"""How much of the trust region a float type can measure: the rest is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trpo_tf import flat, random

# Weights are moved by this many units of rounding, so that what that does stands out of rounding
# itself, and by far less than anything that the divergence is not quadratic in.
_NUDGE = 32
# Units by which each of two policies is taken to be wrong, and how often they are moved at most:
# one draw can by chance do nothing to a single row.
_WRONG_BY = 2
_DRAWS = 4
# Less than this part of δ changes nothing worth drawing again for.
_NEGLIGIBLE = 1e-8


def rounding_kl(measure: Callable[[Any, Any], Any], parameters: Sequence[Any], max_kl: Any) -> Any:
    """An estimate of the KL divergence that rounding alone makes between two equal policies, [].

    Every weight is moved by a few units of its own rounding, with random signs that are the same
    in every call: to compute with rounded numbers is to compute exactly with numbers so moved.
    Next to nothing for a policy whose deviation is of the size of its outputs (some 1e-12 nats in
    float32); 1e-5 and more for one that is certain of its actions to four digits.

    Source: Higham, Accuracy and stability of numerical algorithms (2nd ed.), section 1.5 (backward
    error).

    Args:
        measure: (direction [P], step []) ↦ the mean KL of that step from `parameters`.
        parameters: the policy's values, floats.
        max_kl: δ; an estimate far below it is made of one draw.

    Returns:
        In nats, ≥ 0; NaN if a moved policy has no finite divergence.

    >>> weights = [tf.constant([1.0, 2.0])]
    >>> measure = lambda direction, step: tf.reduce_sum((step * direction) ** 2) * 1e14
    >>> round(float(rounding_kl(measure, weights, 0.01)), 2)  # (1² + 2²) · (4 · 1.19e-7)² · 1e14
    113.69
    """
    values = flat.flatten(parameters)
    unit = np.finfo(values.dtype.as_numpy_dtype).eps
    step = tf.constant(_NUDGE * unit, values.dtype)
    # Both policies that a divergence is measured between are rounded.
    to_rounding = tf.constant((2 * _WRONG_BY / _NUDGE) ** 2, values.dtype)

    def body(draw: Any, mean: Any) -> tuple[Any, Any]:
        bits = random.row_bits(tf.reshape(tf.stack([0, draw]), [1, 2]), values.shape[0])[0]
        signs = tf.where(tf.bitwise.bitwise_and(bits, tf.constant(1, tf.uint32)) == 1, 1, -1)
        moved = measure(tf.cast(signs, values.dtype) * values, step)
        one = to_rounding * tf.maximum(moved, 0)
        return draw + 1, mean + (one - mean) / tf.cast(draw + 1, values.dtype)

    def is_rough(draw: Any, mean: Any) -> Any:
        return (draw == 0) | ((draw < _DRAWS) & (mean > _NEGLIGIBLE * max_kl))

    start = tf.constant(0), tf.zeros([], values.dtype)
    return tf.while_loop(is_rough, body, start)[1]


def measurable_max_kl(max_kl: Any, rounding: Any) -> Any:
    """The largest measured divergence whose true one is at most δ, [].

    √KL is a distance for small steps, so that the true one is at most (√measured + √rounding)².
    Zero where rounding fills all of the trust region, or is not finite.

    Args:
        max_kl: δ, nats.
        rounding: from `rounding_kl`.

    >>> round(float(measurable_max_kl(tf.constant(0.04), tf.constant(0.01))), 4)
    0.01
    """
    left = (tf.sqrt(max_kl) - tf.sqrt(rounding)) ** 2
    return tf.where(rounding < max_kl, left, tf.zeros_like(left))
