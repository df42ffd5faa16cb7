"""Lists of tensors as one vector and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def flatten(tensors: Sequence[Any]) -> Any:
    """Concatenates tensors of any static shapes to one vector [P].

    >>> flatten([tf.ones([2, 2]), tf.zeros([1])]).shape.as_list()
    [5]
    """
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten(vector: Any, like: Sequence[Any]) -> list[Any]:
    """Cuts a vector [P] into tensors of the shapes of `like`; the inverse of `flatten`.

    Raises:
        ValueError: if the sizes do not add up to P.

    >>> [part.shape.as_list() for part in unflatten(tf.range(5), [tf.ones([2, 2]), tf.ones([1])])]
    [[2, 2], [1]]
    """
    sizes = [tensor.shape.num_elements() for tensor in like]
    total = sum(sizes)
    if vector.shape.rank != 1 or vector.shape[0] != total:
        raise ValueError(f"expected a vector of {total} entries, got shape {vector.shape}.")
    parts = tf.split(vector, sizes)
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, like, strict=True)]
