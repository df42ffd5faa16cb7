"""The likelihood of normal actions that an environment clips to its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class ClippedNormal(tfd.Normal):  # type: ignore[name-defined]
    """A normal of which all that lies at or beyond a bound is one event.

    Draws are a normal's, not clipped; what is clipped to a bound does the same to the environment,
    wherever it lay. Its log-probability is therefore that of the whole tail, and its score has less
    variance and the same mean. `kl_divergence` and `entropy` are the normal's own: the divergence
    of what is executed is never larger than that of what is drawn, so a trust region holds.
    (A divergence that is estimated from log-probabilities, `behaviour_kl`, is of what is executed.)
    Log-probabilities of another kind of policy must not be mixed with these: of an action that is
    clipped they are masses here and densities there.

    Source: Fujita and Maeda 2018 (clipped action policy gradient), eq. 10.

    Args:
        loc: [..., *A].
        scale: [..., *A] or what broadcasts to it.
        low: lower bounds, [*A] or what broadcasts to it, −inf where there is none.
        high: upper bounds, +inf where there is none.

    >>> normal = ClippedNormal([0.0, 0.0], [1.0, 1.0], low=-1.0, high=1.0)
    >>> normal.prob([0.0, 9.0]).numpy().round(4)
    array([0.3989, 0.1587], dtype=float32)
    """

    def __init__(
        self,
        loc: Any,
        scale: Any,
        low: Any,
        high: Any,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "ClippedNormal",
    ) -> None:
        # As tuples: what two distributions are compared by must be hashable.
        low, high = _tuples(low), _tuples(high)
        super().__init__(loc, scale, validate_args, allow_nan_stats, name)
        self._parameters: dict[str, Any] = {**self.parameters, "low": low, "high": high}
        self.low, self.high = low, high

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        # The normal's own, said again because TFP does not inherit them where arguments differ: the
        # bounds are no tensors, they belong to the action space and not to what is learnt.
        return dict(super()._parameter_properties(dtype, num_classes))

    def _log_prob(self, x: Any) -> Any:
        low, high = (tf.constant(np.asarray(b), x.dtype) for b in (self.low, self.high))
        is_below = x <= low
        is_clipped = (is_below | (x >= high)) & tf.math.is_finite(x)
        # What is not taken is computed at the mean: a bound ten thousand million deviations away
        # would have a gradient that is no number.
        edge = tf.where(is_clipped, tf.clip_by_value(x, low, high), self.loc)
        distance = (edge - self.loc) / self.scale
        standard = tfd.Normal(tf.zeros([], x.dtype), 1)
        tail = standard.log_cdf(tf.where(is_below, distance, -distance))
        inside = super()._log_prob(tf.where(is_clipped, self.loc, x))
        return tf.where(is_clipped, tail, inside)


def _tuples(bounds: Any) -> Any:
    """An array as nested tuples of floats."""
    bounds = np.asarray(bounds, np.float64)
    return tuple(map(_tuples, bounds)) if bounds.ndim else float(bounds)
