"""Chunked sums and maps against the same function of all rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.chunks import chunked_map, chunked_sum
from trpo_tf.execution import Execution

CHUNK_ROWS = [None, 1, 3, 4, 10, 11, 1000]


def make_rows(dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "matrix": rng.normal(size=(10, 3)).astype(dtype),
        "image": rng.integers(0, 256, size=(10, 2, 2, 1)).astype(np.uint8),
        "weights": np.array([1, 0, 2, 1, 0, 0, 1, 3, 1, 0.5], dtype),
    }


def sums(rows: dict[str, Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
    weights = rows["weights"]
    pixels = tf.cast(rows["image"], weights.dtype) / 255
    gram = tf.einsum("n,ni,nj->ij", weights, rows["matrix"], rows["matrix"])
    return gram, [tf.reduce_sum(weights), tf.einsum("nhwc,n->hwc", pixels, weights)]


def numpy_sums(rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    total = [np.zeros((3, 3)), np.zeros(()), np.zeros((2, 2, 1))]
    for matrix, image, weight in zip(rows["matrix"], rows["image"], rows["weights"], strict=True):
        for out, row in zip(total, (np.outer(matrix, matrix), 1.0, image / 255), strict=True):
            out += float(weight) * row
    return total


@pytest.mark.parametrize("chunk_rows", CHUNK_ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("execution", list(Execution))
def test_sum(execution: Execution, dtype: str, chunk_rows: int | None) -> None:
    rows = make_rows(dtype)
    function = execution.compile(lambda rows: chunked_sum(sums, rows, chunk_rows))
    result = function(tf.nest.map_structure(tf.constant, rows))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for got, expected in zip(tf.nest.flatten(result), numpy_sums(rows), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk_rows", CHUNK_ROWS)
@pytest.mark.parametrize("execution", list(Execution))
def test_map(execution: Execution, chunk_rows: int | None) -> None:
    rows = make_rows("float64")

    def double(rows: dict[str, Any]) -> dict[str, Any]:
        return {
            "matrix": 2 * rows["matrix"],
            "image": rows["image"] + 1,
            "flag": rows["weights"] > 0,
        }

    function = execution.compile(lambda rows: chunked_map(double, rows, chunk_rows))
    result = function(tf.nest.map_structure(tf.constant, rows))
    np.testing.assert_array_equal(result["matrix"], 2 * rows["matrix"])
    np.testing.assert_array_equal(result["image"], rows["image"] + np.uint8(1))
    np.testing.assert_array_equal(result["flag"], rows["weights"] > 0)


def test_never_more_rows_than_a_chunk() -> None:
    seen: list[int] = []

    def count(rows: tf.Tensor) -> tf.Tensor:
        seen.append(rows.shape[0])
        return tf.reduce_sum(rows)

    assert float(chunked_sum(count, tf.ones([10]), 4)) == 10
    assert set(seen) == {4}
