"""A diagonal preconditioner for conjugate gradients, from a few products with random signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trpo_tf import random


class DiagonalPreconditioner:
    """M = (max(diag(F), 0) + λ)^α with diag(F) estimated as the mean of z ⊙ Fz over signs z.

    Source: Bekas, Kokiopoulou and Saad 2007 (the estimator); Martens 2010, section 4.7 (α = 3/4).

    Args:
        num_probes: products that the estimate costs, ≥ 1.
        exponent: α in (0, 1].

    Raises:
        ValueError: if an argument is out of range.

    >>> make = DiagonalPreconditioner(num_probes=1, exponent=1.0)
    >>> inverse = make(lambda v: v * tf.constant([1.0, 3.0]), size=2, damping=1.0, dtype=tf.float32)
    >>> inverse(tf.ones([2])).numpy().tolist()
    [0.5, 0.25]
    """

    def __init__(self, num_probes: int = 4, exponent: float = 0.75) -> None:
        if num_probes < 1:
            raise ValueError(f"num_probes must be >= 1, got {num_probes}. 4 is typical.")
        if not 0 < exponent <= 1:
            raise ValueError(f"exponent must lie in (0, 1], got {exponent}. 0.75 is typical.")
        self.num_probes = num_probes
        self.exponent = exponent

    def __call__(
        self, matvec: Callable[[Any], Any], size: int, damping: float, dtype: Any
    ) -> Callable[[Any], Any]:
        """Probes F and returns r ↦ M⁻¹r.

        Args:
            matvec: v [P] ↦ Fv [P], without damping.
            size: P.
            damping: λ ≥ 0.
            dtype: of the vectors.
        """
        diagonal = tf.zeros([size], dtype)
        for probe in range(self.num_probes):
            bits = random.row_bits(tf.constant([[0, probe]], tf.int32), size)[0]
            signs = tf.where(tf.bitwise.bitwise_and(bits, tf.constant(1, tf.uint32)) == 1, 1, -1)
            signs = tf.cast(signs, dtype)
            diagonal += signs * matvec(signs) / self.num_probes
        scale = (tf.maximum(diagonal, 0) + damping) ** self.exponent
        # Without damping a direction of no curvature has scale 0; it is left as it is.
        scale = tf.where(scale > 0, scale, 1)
        return lambda residual: residual / scale
