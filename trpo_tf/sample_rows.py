"""Samples of any TFP distribution, row by row with stateless seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from trpo_tf.distribution_parameters import components


def sample_rows(distribution: Any, seeds: tf.Tensor) -> tf.Tensor:
    """Samples one action a row from any distribution, each with a stateless seed of its own.

    The distribution is cut into rows of batch [1], and each draws with its own
    `sample(seed=row_seed)`: a row's action depends on its parameters and its seed alone. Slower
    than one call for the whole batch, some 10 µs a row in a graph. TensorFlow's stateless
    samplers draw other numbers under XLA than without it.

    Args:
        distribution: of batch shape [N] and event shape A; a composite tensor, as nearly all of
            TFP's are.
        seeds: [N, 2] int32.

    Returns:
        [N, *A] of the distribution's dtype.

    Raises:
        TypeError: if the distribution cannot be taken apart into tensors.
        ValueError: if it does not show which parameters belong to which row.

    Example:
        >>> from tensorflow_probability import distributions as tfd
        >>> actions = sample_rows(tfd.Beta([1.0, 2.0, 3.0], 1.0), [[1, 2], [3, 4], [5, 6]])
        >>> alone = sample_rows(tfd.Beta([3.0], 1.0), [[5, 6]])
        >>> bool(alone[0] == actions[2])
        True
    """
    leaves = _leaves(distribution)
    batched = _leaves_with_rows(distribution, leaves)

    def draw(row: tuple[list[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        parameters, seed = row
        kept = {i: value[tf.newaxis] for i, value in zip(batched, parameters, strict=True)}
        sample = _rebuild(distribution, leaves, kept).sample(seed=seed)
        return tf.ensure_shape(sample, [1, *distribution.event_shape])[0]

    rows = [tf.convert_to_tensor(leaves[i]) for i in batched]
    spec = tf.TensorSpec(distribution.event_shape, distribution.dtype)
    return tf.map_fn(draw, (rows, tf.convert_to_tensor(seeds)), fn_output_signature=spec)


def _leaves(distribution: Any) -> list[Any]:
    leaves = components(distribution)
    if not all(tf.is_tensor(leaf) for leaf in leaves):
        raise TypeError(
            f"{type(distribution).__name__} cannot be taken apart into tensors, expected a "
            "composite tensor. Derive it from tfd.AutoCompositeTensorDistribution and give it "
            "_parameter_properties."
        )
    return leaves


def _rebuild(distribution: Any, leaves: Sequence[Any], replaced: dict[int, Any]) -> Any:
    parts = [replaced.get(i, leaf) for i, leaf in enumerate(leaves)]
    return tf.nest.pack_sequence_as(distribution, parts, expand_composites=True)


def _leaves_with_rows(distribution: Any, leaves: Sequence[Any]) -> tuple[int, ...]:
    """Indices of the parameters that have a row for each row of the batch.

    The first dimension alone does not tell: with three actions and three rows a shared scale [3]
    looks like rows. So it is the smallest choice of which one row makes a batch of one.
    """
    num_rows = distribution.batch_shape[0]
    candidates = [
        i for i, leaf in enumerate(leaves) if leaf.shape.rank and leaf.shape[0] == num_rows
    ]
    if num_rows in (0, 1):
        return tuple(candidates)
    for size in range(1, len(candidates) + 1):
        for choice in itertools.combinations(candidates, size):
            if _is_one_row(distribution, leaves, choice):
                return choice
    raise ValueError(
        f"the parameters of {type(distribution).__name__} do not show which of them belong to "
        f"which row of its batch {distribution.batch_shape}. Give every parameter that depends on "
        "the observations the batch as its first dimension."
    )


def _is_one_row(distribution: Any, leaves: Sequence[Any], choice: Sequence[int]) -> bool:
    first_rows = {i: tf.ensure_shape(leaves[i][:1], [1, *leaves[i].shape[1:]]) for i in choice}
    try:
        row = _rebuild(distribution, leaves, first_rows)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        return False  # what was cut was no row, and the rest does not fit it
    return row.batch_shape == [1] and row.event_shape == distribution.event_shape
