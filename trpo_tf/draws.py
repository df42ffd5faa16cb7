"""Draws from a policy's distribution, every row by its own seed.

For the distributions that `make_policy` gives, a draw is a plain function of the distribution's
parameters and of numbers from `trpo_tf.random`, so that it is the same in eager, graph and XLA
execution, in LiteRT and in a served model. Any other distribution samples itself, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.random import row_gumbels, row_normals, row_uniforms
from trpo_tf.sample_rows import sample_rows

tfd = tfp.distributions

# Exact types: a subclass may sample as it likes.
_KINDS = {
    tfd.Normal: "normal",
    ClippedNormal: "normal",
    tfd.MultivariateNormalDiag: "normal",
    tfd.Categorical: "gumbel",
    tfd.OneHotCategorical: "gumbel",
    tfd.Bernoulli: "uniform",
}
_NOISE: dict[str, Callable[..., tf.Tensor]] = {
    "normal": row_normals,
    "gumbel": row_gumbels,
    "uniform": row_uniforms,
}


class NoiseSpec(NamedTuple):
    """The random numbers that a draw of one row takes.

    Attributes:
        kind: "normal", "gumbel" or "uniform".
        size: how many.
    """

    kind: str
    size: int


def noise_spec(distribution: Any) -> NoiseSpec | None:
    """The noise from which `draw_from_noise` can draw, or None if it does not know the kind.

    Known are Normal, ClippedNormal, MultivariateNormalDiag, Categorical, OneHotCategorical and
    Bernoulli, and Independent of them. Only types and static shapes are looked at, never values,
    so this works while tracing, the number of rows unknown.

    Args:
        distribution: of batch shape [N].

    Example:
        >>> noise_spec(tfd.Independent(tfd.Normal(tf.zeros([5, 3]), 1.0), 1))
        NoiseSpec(kind='normal', size=3)
        >>> noise_spec(tfd.Categorical(logits=tf.zeros([5, 4])))
        NoiseSpec(kind='gumbel', size=4)
        >>> noise_spec(tfd.Beta(tf.ones([5]), 1.0)) is None
        True
    """
    kind = _KINDS.get(type(_innermost(distribution)))
    if kind is None or distribution.batch_shape.rank != 1:
        return None
    size = tf.TensorShape(_noise_shape(distribution)).num_elements()
    return None if size is None else NoiseSpec(kind, size)


def row_noise(spec: NoiseSpec, seeds: tf.Tensor, dtype: Any) -> tf.Tensor:
    """The noise of a batch, every row's from its own seed.

    Args:
        spec: from `noise_spec`.
        seeds: [N, 2] int32.
        dtype: float32 or float64, that of the distribution's parameters.

    Returns:
        [N, spec.size] of `dtype`.

    Raises:
        ValueError: for other seeds or another dtype.

    Example:
        >>> row_noise(NoiseSpec("uniform", 2), [[1, 2]], tf.float32).numpy().round(3)
        array([[0.146, 0.546]], dtype=float32)
    """
    return _NOISE[spec.kind](seeds, spec.size, dtype)


def draw_from_noise(distribution: Any, noise: tf.Tensor) -> tf.Tensor:
    """Draws from a distribution of a kind that `noise_spec` knows.

    Normal: loc + scale ε. Categorical: argmax(logits + Gumbel noise) (Maddison, Tarlow and Minka
    2014), so that a logit of -inf, or -1e9 beside others, is never drawn. Bernoulli: uniform <
    probability. Only ops that LiteRT has built in.

    Args:
        distribution: of batch shape [N] and event shape A.
        noise: [N, size], from `row_noise`.

    Returns:
        [N, *A] of the distribution's dtype.

    Example:
        >>> draw_from_noise(tfd.Normal([1.0, 2.0], 10.0), tf.constant([[0.5], [-0.5]])).numpy()
        array([ 6., -3.], dtype=float32)
    """
    part = _innermost(distribution)
    parameter = _parameter(part)
    noise = tf.reshape(tf.cast(noise, parameter.dtype), [-1, *_noise_shape(distribution)])
    if isinstance(part, tfd.Bernoulli):
        return tf.cast(noise < parameter, distribution.dtype)
    if isinstance(part, (tfd.Categorical, tfd.OneHotCategorical)):
        indices = tf.argmax(parameter + noise, axis=-1, output_type=tf.int32)
        if isinstance(part, tfd.OneHotCategorical):
            return tf.one_hot(indices, parameter.shape[-1], dtype=distribution.dtype)
        return tf.cast(indices, distribution.dtype)
    scale = part.scale if isinstance(part, tfd.Normal) else part.scale.diag_part()
    return parameter + scale * noise


def draw_rows(distribution: Any, seeds: tf.Tensor) -> tf.Tensor:
    """Draws one action a row; a row's draw depends on its parameters and its own seed alone.

    Distributions that `noise_spec` knows are drawn from `row_noise`. Any other goes through
    `sample_rows`.

    Args:
        distribution: of batch shape [N] and event shape A; if its kind is not known, a composite
            tensor, as nearly all of TFP's are.
        seeds: [N, 2] int32.

    Returns:
        [N, *A] of the distribution's dtype.

    Raises:
        TypeError: if the distribution cannot be taken apart into tensors.
        ValueError: if its batch shape is not [N], or its rows cannot be told apart.

    Example:
        >>> draw_rows(tfd.Categorical(logits=[[0.0, -1e9], [-1e9, 0.0]]), [[1, 2], [1, 2]]).numpy()
        array([0, 1], dtype=int32)
    """
    seeds = tf.convert_to_tensor(seeds)
    batch_shape = distribution.batch_shape
    if batch_shape.rank != 1 or not batch_shape.is_compatible_with(seeds.shape[:1]):
        raise ValueError(
            f"the distribution must have batch shape [rows] with a seed for each row, got batch "
            f"shape {batch_shape} and seeds of shape {seeds.shape}."
        )
    spec = noise_spec(distribution)
    if spec is None:
        return sample_rows(distribution, seeds)
    wide = _parameter(_innermost(distribution)).dtype == tf.float64
    noise = row_noise(spec, seeds, tf.float64 if wide else tf.float32)
    return draw_from_noise(distribution, noise)


def deterministic_action(distribution: Any) -> tf.Tensor:
    """The action of a policy that does not explore: the mode.

    Where TFP has none, the mean; where it has neither, as for a normal squashed by a tanh, the
    transformed deterministic action of the base distribution. A mode that is NaN (a Beta's without
    an inner maximum) gives way to the mean.

    Args:
        distribution: of batch shape [N] and event shape A.

    Returns:
        [N, *A].

    Raises:
        TypeError: if the distribution has nothing of the kind.

    Example:
        >>> deterministic_action(tfd.Bernoulli(probs=[0.2, 0.9])).numpy()
        array([0, 1], dtype=int32)
    """
    if type(distribution) is tfd.Independent:
        return deterministic_action(distribution.distribution)
    mode = if_implemented(distribution.mode)
    if mode is not None and (type(distribution) in _KINDS or not mode.dtype.is_floating):
        return mode
    mean = if_implemented(distribution.mean)
    if mode is not None:
        return mode if mean is None else tf.where(tf.math.is_nan(mode), mean, mode)
    if mean is not None:
        return mean
    if isinstance(distribution, tfd.TransformedDistribution):
        return distribution.bijector.forward(deterministic_action(distribution.distribution))
    raise TypeError(
        f"{type(distribution).__name__} has neither a mode nor a mean, so it has no deterministic "
        "action. Give the distribution a _mode method."
    )


def if_implemented(statistic: Callable[[], Any]) -> Any:
    """What a distribution's method gives; None where TFP has none for it."""
    try:
        return statistic()
    except NotImplementedError:  # TFP's word for a method that a class does not have
        return None


def _innermost(distribution: Any) -> Any:
    while type(distribution) is tfd.Independent:
        distribution = distribution.distribution
    return distribution


def _parameter(part: Any) -> tf.Tensor:
    """What the noise is held against: location, logits or probability."""
    if isinstance(part, tfd.Bernoulli):
        return part.probs_parameter()
    if isinstance(part, (tfd.Categorical, tfd.OneHotCategorical)):
        return part.logits_parameter()
    return tf.zeros([], part.dtype) if part.loc is None else tf.convert_to_tensor(part.loc)


def _noise_shape(distribution: Any) -> list[int | None]:
    """Static shape of a row's noise: the event's, and the logits' for a Categorical."""
    shape = distribution.event_shape
    part = _innermost(distribution)
    if type(part) is tfd.Categorical:
        logits = part.probs if part.logits is None else part.logits
        shape = shape.concatenate(logits.shape[-1:])
    return shape.as_list()
