"""The diagonal preconditioner against matrices whose diagonal is known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.conjugate_gradient import conjugate_gradient
from trpo_tf.execution import Execution
from trpo_tf.preconditioner import DiagonalPreconditioner


def _matvec(matrix):
    return lambda vector: tf.linalg.matvec(matrix, vector)


@pytest.mark.parametrize("execution", Execution)
def test_one_probe_finds_a_diagonal_matrix_exactly(execution):
    diagonal = np.array([0.5, 2.0, 8.0, 100.0])
    make = DiagonalPreconditioner(num_probes=1, exponent=0.75)

    def invert(residual):
        return make(_matvec(tf.linalg.diag(tf.constant(diagonal))), 4, 0.1, tf.float64)(residual)

    inverse = execution.compile(invert)(tf.ones([4], tf.float64))
    np.testing.assert_allclose(inverse, (diagonal + 0.1) ** -0.75, rtol=1e-12)


def test_the_estimate_tends_to_the_diagonal_of_a_dense_matrix():
    root = np.random.default_rng(0).normal(size=(6, 6)) / 4
    matrix = root @ root.T + np.diag(np.arange(1.0, 7.0))
    make = DiagonalPreconditioner(num_probes=200, exponent=1.0)
    inverse = make(_matvec(tf.constant(matrix)), 6, 0.0, tf.float64)(tf.ones([6], tf.float64))
    np.testing.assert_allclose(1 / inverse, np.diag(matrix), rtol=0.15)


def test_directions_without_curvature_or_damping_are_left_as_they_are():
    make = DiagonalPreconditioner(num_probes=1)
    inverse = make(lambda vector: 0 * vector, 3, 0.0, tf.float32)(tf.constant([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(inverse, [1, 2, 3])


def test_conjugate_gradients_need_fewer_iterations():
    matrix = tf.constant(np.diag(np.logspace(0, 4, 40)))
    rhs = tf.ones([40], tf.float64)
    inverse = DiagonalPreconditioner(num_probes=1)(_matvec(matrix), 40, 0.0, tf.float64)
    plain = conjugate_gradient(_matvec(matrix), rhs, 100, tolerance=1e-6)
    preconditioned = conjugate_gradient(_matvec(matrix), rhs, 100, 1e-6, inverse)
    assert 2 * preconditioned.iterations < plain.iterations
    np.testing.assert_allclose(preconditioned.solution, 1 / np.diag(matrix), rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"num_probes": 0}, "num_probes must be >= 1, got 0"), ({"exponent": 1.5}, "got 1.5")],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        DiagonalPreconditioner(**arguments)
