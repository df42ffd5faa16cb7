"""Running normalisation of observations as a Keras layer that carries its own statistics."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class RunningNormalizer(keras.layers.Layer):
    """(x − mean) / √(variance + ε), clipped, with the statistics of all rows seen so far.

    Variables (not trained): `count` [], `mean` [D], `variance` [D]. Before the first `update` the
    mean is 0 and the variance 1. The statistics change only in `update`, never in a call, so that
    π_old stays the policy that acted.

    Args:
        mask: [D] bool, which entries are normalised; the others, one-hots say, pass as they are.
            None: all.
        clip: bound of the result's magnitude, in standard deviations. 10 is what the best
            published results use.
        epsilon: added to the variance.
        dtype: of variables and output.

    Raises:
        ValueError: if `clip` or `epsilon` is not positive.

    >>> normalizer = RunningNormalizer()
    >>> normalizer.build((None, 1))
    >>> normalizer.update(tf.constant([[1.0], [3.0]]), tf.ones([2]))
    >>> normalizer(tf.constant([[4.0]])).numpy().round(3).tolist()
    [[2.0]]
    """

    def __init__(
        self,
        mask: np.ndarray | None = None,
        clip: float = 10.0,
        epsilon: float = 1e-8,
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype, name="normalizer")
        if clip <= 0 or epsilon <= 0:
            raise ValueError(
                f"clip and epsilon must be > 0, got {clip} and {epsilon}. Typical are 10 and 1e-8."
            )
        self.entries = None if mask is None else np.asarray(mask, bool)
        self.clip = clip
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        """Creates the statistics for rows of `input_shape[-1]` entries."""
        size = input_shape[-1]
        self.count = self.add_weight(
            name="count", shape=(), initializer="zeros", trainable=False, dtype=self.dtype
        )
        self.mean = self.add_weight(
            name="mean", shape=(size,), initializer="zeros", trainable=False, dtype=self.dtype
        )
        self.variance = self.add_weight(
            name="variance", shape=(size,), initializer="ones", trainable=False, dtype=self.dtype
        )
        self.built = True

    def call(self, rows: Any) -> Any:
        """Normalises rows [N, D]."""
        scale = tf.math.rsqrt(tf.convert_to_tensor(self.variance) + self.epsilon)
        normalized = (rows - tf.convert_to_tensor(self.mean)) * scale
        normalized = tf.clip_by_value(normalized, -self.clip, self.clip)
        if self.entries is None or self.entries.all():
            return normalized
        return tf.where(self.entries, normalized, rows)

    def update(self, rows: Any, weights: Any) -> None:
        """Merges rows [M, D] of weights [M] into the statistics.

        Rows of weight 0 do not count, whatever they hold.

        Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing
        sample variances (1979), eq. 2.1.
        """
        weights = tf.cast(weights, self.dtype)[:, tf.newaxis]
        rows = tf.where(weights > 0, tf.cast(rows, self.dtype), 0)
        added = tf.reduce_sum(weights)
        batch_mean = tf.math.divide_no_nan(tf.reduce_sum(weights * rows, 0), added)
        batch_square = tf.reduce_sum(weights * (rows - batch_mean) ** 2, 0)
        old = tf.convert_to_tensor(self.count)
        total = old + added
        delta = batch_mean - self.mean
        mean = self.mean + delta * tf.math.divide_no_nan(added, total)
        square = (
            self.variance * old
            + batch_square
            + delta**2 * tf.math.divide_no_nan(old * added, total)
        )
        empty = added <= 0
        self.variance.assign(tf.where(empty, self.variance, tf.math.divide_no_nan(square, total)))
        self.mean.assign(tf.where(empty, self.mean, mean))
        self.count.assign(total)
