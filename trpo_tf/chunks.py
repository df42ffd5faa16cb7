"""Functions of many rows, computed a chunk of rows at a time to bound memory.

Image observations are stored as bytes; only the chunk at hand is ever a float copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def chunked_sum(function: Callable[[Any], Any], rows: Any, chunk_rows: int | None) -> Any:
    """Σ over chunks of `function(chunk)`, equal to `function(rows)` to rounding.

    Args:
        function: maps a nest of [n, …] tensors to a nest of tensors that are sums over rows, and
            maps rows of zeros, which fill the last chunk, to finite values of weight zero (one of
            the tensors in `rows` is the rows' weight).
        rows: a nest of tensors [N, …] of static N.
        chunk_rows: rows at a time; None or ≥ N: all in one call.

    Returns:
        A nest like that of `function`.

    >>> chunked_sum(tf.reduce_sum, tf.range(10), chunk_rows=4).numpy().item()
    45
    """
    num_rows = tf.nest.flatten(rows)[0].shape[0]
    if chunk_rows is None or chunk_rows >= num_rows:
        return function(rows)
    chunked, num_chunks = _split(rows, num_rows, chunk_rows)
    total = function(_take(chunked, 0))

    def add(index: Any, total: Any) -> Any:
        part = function(_take(chunked, index))
        return index + 1, tf.nest.map_structure(tf.add, total, part)

    # One at a time: chunks side by side would need the memory that chunks are there to save.
    _, total = tf.while_loop(
        lambda index, _: index < num_chunks, add, (tf.constant(1), total), parallel_iterations=1
    )
    return total


def chunked_map(function: Callable[[Any], Any], rows: Any, chunk_rows: int | None) -> Any:
    """`function` applied to chunks of rows and put together again: [N, …] to [N, …].

    Args:
        function: maps a nest of [n, …] tensors to a nest of [n, …] tensors, row by row.
        rows: a nest of tensors [N, …] of static N.
        chunk_rows: rows at a time; None or ≥ N: all in one call.

    >>> chunked_map(lambda x: x * 2, tf.range(5), chunk_rows=2).numpy().tolist()
    [0, 2, 4, 6, 8]
    """
    num_rows = tf.nest.flatten(rows)[0].shape[0]
    if chunk_rows is None or chunk_rows >= num_rows:
        return function(rows)
    chunked, _ = _split(rows, num_rows, chunk_rows)
    signature = tf.nest.map_structure(tf.type_spec_from_value, function(_take(chunked, 0)))
    outputs = tf.map_fn(function, chunked, parallel_iterations=1, fn_output_signature=signature)
    return tf.nest.map_structure(
        lambda output: tf.reshape(output, [-1, *output.shape[2:]])[:num_rows], outputs
    )


def _split(rows: Any, num_rows: int, chunk_rows: int) -> tuple[Any, int]:
    num_chunks = -(-num_rows // chunk_rows)
    padding = num_chunks * chunk_rows - num_rows

    def split(tensor: Any) -> Any:
        padded = tf.pad(tensor, [[0, padding]] + [[0, 0]] * (tensor.shape.rank - 1))
        return tf.reshape(padded, [num_chunks, chunk_rows, *tensor.shape[1:]])

    return tf.nest.map_structure(split, rows), num_chunks


def _take(chunked: Any, index: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, index), chunked)
