"""Weighted moments of rows."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def weighted_variance(rows: Any, weights: Any) -> Any:
    """Σ w (x − x̄)² / Σ w over rows [N] of positive weight, []; 0 if there is none.

    >>> weighted_variance(tf.constant([1.0, 3.0, 9.0]), tf.constant([1.0, 1.0, 0.0])).numpy().item()
    1.0
    """
    total = tf.reduce_sum(weights)
    rows = tf.where(weights > 0, rows, 0)
    mean = tf.math.divide_no_nan(tf.reduce_sum(weights * rows), total)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * (rows - mean) ** 2), total)
