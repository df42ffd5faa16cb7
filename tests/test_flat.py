"""Lists of tensors as one vector and back, against NumPy's concatenation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.flat import flatten, unflatten

SHAPES = [(2, 3), (), (4,), (1, 2, 2), (0, 3)]


def make_parts(dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("execution", list(Execution))
def test_there_and_back(execution: Execution, dtype: str) -> None:
    parts = make_parts(dtype)
    tensors = [tf.constant(part) for part in parts]
    vector = execution.compile(lambda *ts: flatten(ts))(*tensors)
    np.testing.assert_array_equal(vector, np.concatenate([part.ravel() for part in parts]))
    back = execution.compile(lambda v: unflatten(v, tensors))(vector)
    for part, again in zip(parts, back, strict=True):
        assert again.shape == part.shape
        np.testing.assert_array_equal(again, part)


def test_like_variables() -> None:
    variables = [tf.Variable(tf.ones([2, 2])), tf.Variable(3.0)]
    vector = flatten(variables)
    np.testing.assert_array_equal(vector, [1, 1, 1, 1, 3])
    assert [part.shape.as_list() for part in unflatten(vector, variables)] == [[2, 2], []]


@pytest.mark.parametrize("vector", [tf.zeros([5]), tf.zeros([7]), tf.zeros([6, 1])])
def test_wrong_size_is_refused(vector: tf.Tensor) -> None:
    with pytest.raises(ValueError, match="6"):
        unflatten(vector, [tf.zeros([2, 3])])
