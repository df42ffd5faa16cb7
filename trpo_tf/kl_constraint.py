"""The trust region: mean KL(π_old ‖ π_new) ≤ δ, and its metric, the Fisher matrix, by products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from trpo_tf.distribution_parameters import float_type, in_float64


class KLConstraint:
    """E_s KL(π_old(·|s) ‖ π_new(·|s)) ≤ δ; one direction, everywhere.

    Args:
        max_kl: δ > 0 in nats, finite, or a Keras schedule of it over the policy's version, which
            `TRPO.update` counts.

    Raises:
        ValueError: if `max_kl` is not positive or not finite.

    >>> import tensorflow_probability as tfp
    >>> old, new = (tfp.distributions.Normal(mean, [1.0, 1.0]) for mean in (0.0, [1.0, 3.0]))
    >>> KLConstraint(max_kl=0.01)(old, new).numpy().item()  # (1² + 3²) / 2 / 2
    2.5
    """

    def __init__(self, max_kl: float | LearningRateSchedule = 0.01) -> None:
        if not isinstance(max_kl, LearningRateSchedule) and not 0 < max_kl < math.inf:
            raise ValueError(
                f"max_kl must be > 0 and finite, got {max_kl}. Typical values are 0.001 to 0.05."
            )
        self.max_kl = max_kl

    def __call__(self, old: Any, new: Any, weights: Any = None) -> Any:
        """The mean of KL(old ‖ new) over rows, [], in nats.

        Args:
            old: a `tfd.Distribution` of batch [N].
            new: one of the same kind.
            weights: [N], 0 for rows that do not count; None: all count alike.
        """
        return mean_kl(old, new, weights)

    def max_kl_at(self, num_updates: Any) -> Any:
        """δ after a number of updates, []."""
        return (
            self.max_kl(num_updates)
            if isinstance(self.max_kl, LearningRateSchedule)
            else self.max_kl
        )


def mean_kl(old: Any, new: Any, weights: Any = None) -> Any:
    """The mean of KL(old ‖ new) over rows, as `KLConstraint` measures it, [], in nats."""
    divergences = kl_of_rows(old, new)
    if weights is None:
        mean = tf.reduce_mean(divergences)
    else:
        mean = tf.math.divide_no_nan(
            weighted_sum(divergences, weights),
            tf.reduce_sum(tf.cast(weights, divergences.dtype)),
        )
    return tf.cast(mean, float_type(old, mean.dtype))


def kl_of_rows(old: Any, new: Any) -> Any:
    """KL(old ‖ new) of each row, [N], in float64 whatever the type of the policy.

    Many a divergence is a small difference of large numbers, such as the logarithms of gamma
    functions in that of two Betas, and float32 leaves little of it; of the parameters' own rounding
    far less comes through. What cannot be taken apart is measured in its own type.
    """
    wide_old, wide_new = in_float64(old, new)
    return wide_old.kl_divergence(wide_new)


def weighted_sum(rows: Any, weights: Any) -> Any:
    """Σ w·x over rows of positive weight; the others do not count, whatever they hold."""
    weights = tf.cast(weights, rows.dtype)
    return tf.reduce_sum(tf.where(weights > 0, weights * rows, 0))


def fisher_vector_product(
    distribution_fn: Callable[[Sequence[Any]], Any],
    parameters: Sequence[Any],
    vector: Sequence[Any],
    weights: Any,
) -> list[Any]:
    """Σ_n w_n F_n v, where F_n is the Fisher matrix of row n, without ever forming it.

    F = JᵀMJ is the Gauss-Newton matrix of the KL at old = new: J is the Jacobian of the
    distribution's own parameter tensors with respect to the network's, M the Hessian of the KL in
    those tensors, small and in closed form. Jv is one forward-mode pass, Jᵀ one reverse pass, both
    on the same forward pass; M is forward over reverse. Equal to the Hessian of the mean KL, since
    the KL's gradient vanishes there, at less than the cost of differentiating twice in reverse.

    Source: Schulman et al. 2015 (TRPO), appendix C.1; Schraudolph 2002, section 3.

    Args:
        distribution_fn: parameters ↦ `tfd.Distribution` of batch [N], a composite tensor.
        parameters: tensors at which F is taken.
        vector: v, tensors of the same shapes.
        weights: w, [N].

    Returns:
        Tensors of the shapes of `parameters`.
    """
    with (
        tf.GradientTape() as tape,
        tf.autodiff.ForwardAccumulator(list(parameters), list(vector)) as tangent,
    ):
        tape.watch(parameters)
        distribution = distribution_fn(parameters)
        components = tf.nest.flatten(distribution, expand_composites=True)
        moving = [index for index, part in enumerate(components) if part.dtype.is_floating]
    zero = tf.UnconnectedGradients.ZERO
    tangents = [tangent.jvp(components[index], zero) for index in moving]
    products = _kl_hessian_product(distribution, components, moving, tangents, weights)
    return tape.gradient(
        [components[index] for index in moving], parameters, products, unconnected_gradients=zero
    )


def _kl_hessian_product(
    distribution: Any, components: list[Any], moving: list[int], tangents: list[Any], weights: Any
) -> list[Any]:
    old = tf.nest.pack_sequence_as(
        distribution, [tf.stop_gradient(part) for part in components], expand_composites=True
    )
    points = [tf.stop_gradient(components[index]) for index in moving]
    zero = tf.UnconnectedGradients.ZERO
    with tf.autodiff.ForwardAccumulator(points, tangents) as tangent:
        with tf.GradientTape() as tape:
            tape.watch(points)
            replaced = list(components)
            for index, point in zip(moving, points, strict=True):
                replaced[index] = point
            new = tf.nest.pack_sequence_as(distribution, replaced, expand_composites=True)
            divergence = weighted_sum(old.kl_divergence(new), weights)
        gradients = tape.gradient(divergence, points, unconnected_gradients=zero)
    return [tangent.jvp(gradient, zero) for gradient in gradients]
