"""Conjugate gradients against dense solves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.conjugate_gradient import CGResult, conjugate_gradient
from trpo_tf.execution import Execution

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


def positive_definite(seed: int, size: int, condition: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return basis @ np.diag(np.geomspace(1, condition, size)) @ basis.T


def solve(
    matrix: np.ndarray,
    rhs: np.ndarray,
    max_iterations: int,
    execution: Execution = Execution.EAGER,
    tolerance: float = 1e-10,
    preconditioner: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> CGResult:
    def run(matrix: tf.Tensor, rhs: tf.Tensor) -> CGResult:
        def matvec(vector: tf.Tensor) -> tf.Tensor:
            return tf.linalg.matvec(matrix, vector)

        return conjugate_gradient(matvec, rhs, max_iterations, tolerance, preconditioner)

    return execution.compile(run)(tf.constant(matrix), tf.constant(rhs))


def textbook(matrix: np.ndarray, rhs: np.ndarray, iterations: int) -> np.ndarray:
    """The minimiser of xᵀAx/2 − bᵀx over the Krylov space of b, A b, …, by a dense projection."""
    krylov = [rhs / np.linalg.norm(rhs)]
    for _ in range(iterations - 1):
        vector = matrix @ krylov[-1]
        for other in [*krylov, *krylov]:
            vector = vector - (vector @ other) * other
        krylov.append(vector / np.linalg.norm(vector))
    basis = np.stack(krylov, axis=1)
    return basis @ np.linalg.solve(basis.T @ matrix @ basis, basis.T @ rhs)


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "condition"), [(1, 1.0), (5, 10.0), (20, 50.0)])
def test_dense_solve(execution: Execution, dtype: str, size: int, condition: float) -> None:
    matrix = positive_definite(size, size, condition)
    rhs = np.random.default_rng(1).normal(size=size)
    result = solve(matrix.astype(dtype), rhs.astype(dtype), 3 * size, execution)
    tolerance = 2e-4 if dtype == "float32" else 1e-8
    expected = np.linalg.solve(matrix, rhs)
    np.testing.assert_allclose(result.solution, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(result.quadratic, expected @ matrix @ expected, rtol=10 * tolerance)
    assert result.solution.dtype == dtype


@ALL_WAYS
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_few_iterations_minimise_over_the_krylov_space(
    execution: Execution, iterations: int
) -> None:
    matrix = positive_definite(0, 12, 100.0)
    rhs = np.random.default_rng(2).normal(size=12)
    result = solve(matrix, rhs, iterations, execution)
    expected = textbook(matrix, rhs, iterations)
    np.testing.assert_allclose(result.solution, expected, rtol=1e-8)
    assert int(result.iterations) == iterations
    residual = np.linalg.norm(rhs - matrix @ expected) / np.linalg.norm(rhs)
    np.testing.assert_allclose(result.residual_norm, residual, rtol=1e-8)
    np.testing.assert_allclose(result.quadratic, expected @ matrix @ expected, rtol=1e-8)


@ALL_WAYS
@pytest.mark.parametrize("matrix", [np.eye(4), np.zeros((4, 4)), -np.eye(4)])
def test_zero_right_hand_side(execution: Execution, matrix: np.ndarray) -> None:
    result = solve(matrix, np.zeros(4), 10, execution)
    np.testing.assert_array_equal(result.solution, np.zeros(4))
    assert (int(result.iterations), float(result.residual_norm)) == (0, 0.0)
    assert float(result.quadratic) == 0.0


@ALL_WAYS
def test_singular_but_consistent(execution: Execution) -> None:
    matrix = positive_definite(3, 8, 20.0)
    values, vectors = np.linalg.eigh(matrix)
    matrix = vectors[:, 3:] @ np.diag(values[3:]) @ vectors[:, 3:].T
    rhs = matrix @ np.random.default_rng(3).normal(size=8)
    result = solve(matrix, rhs, 30, execution)
    expected = np.linalg.pinv(matrix, rcond=1e-10) @ rhs
    np.testing.assert_allclose(result.solution, expected, rtol=1e-6, atol=1e-8)
    assert float(result.residual_norm) < 1e-8


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_and_inconsistent_stays_finite(execution: Execution, dtype: str) -> None:
    matrix = np.diag([1.0, 2.0, 0.0]).astype(dtype)
    result = solve(matrix, np.array([1.0, 1.0, 1.0], dtype), 50, execution)
    assert np.all(np.isfinite(result.solution))
    assert np.isfinite(float(result.quadratic))


@ALL_WAYS
def test_no_curvature_at_all_gives_zero(execution: Execution) -> None:
    result = solve(np.zeros((3, 3)), np.ones(3), 10, execution)
    np.testing.assert_array_equal(result.solution, np.zeros(3))
    assert int(result.iterations) == 0
    assert float(result.residual_norm) == 1.0


@ALL_WAYS
def test_indefinite_keeps_what_was_reached_before(execution: Execution) -> None:
    matrix, rhs = np.diag([3.0, 1.0, -0.5]), np.array([1.0, 1.0, 0.1])
    first = textbook(matrix, rhs, 1)
    result = solve(matrix, rhs, 10, execution)
    iterations = int(result.iterations)
    assert 1 <= iterations < 3
    np.testing.assert_allclose(result.solution, textbook(matrix, rhs, iterations), rtol=1e-10)
    assert first @ matrix @ first > 0
    np.testing.assert_allclose(
        result.quadratic, result.solution.numpy() @ matrix @ result.solution.numpy(), rtol=1e-10
    )


@ALL_WAYS
def test_negative_definite_gives_zero(execution: Execution) -> None:
    np.testing.assert_array_equal(
        solve(-np.eye(3), np.ones(3), 10, execution).solution, np.zeros(3)
    )


@ALL_WAYS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_products_that_are_not_finite(execution: Execution, bad: float) -> None:
    matrix = np.eye(3)
    matrix[0, 0] = bad
    result = solve(matrix, np.ones(3), 10, execution)
    np.testing.assert_array_equal(result.solution, np.zeros(3))


@ALL_WAYS
def test_right_hand_side_that_is_nan(execution: Execution) -> None:
    result = solve(np.eye(3), np.array([1.0, np.nan, 1.0]), 10, execution)
    np.testing.assert_array_equal(result.solution, np.zeros(3))
    assert int(result.iterations) == 0


@ALL_WAYS
@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-5])
def test_stops_at_the_first_residual_under_the_tolerance(
    execution: Execution, tolerance: float
) -> None:
    matrix = positive_definite(4, 15, 1000.0)
    rhs = np.random.default_rng(4).normal(size=15)
    result = solve(matrix, rhs, 200, execution, tolerance)

    def relative_residual(iterations: int) -> float:
        solution = textbook(matrix, rhs, iterations) if iterations else np.zeros(15)
        return float(np.linalg.norm(rhs - matrix @ solution) / np.linalg.norm(rhs))

    assert float(result.residual_norm) <= tolerance
    if int(result.iterations) <= 10:
        assert relative_residual(int(result.iterations)) <= tolerance * (1 + 1e-6)
        assert relative_residual(int(result.iterations) - 1) > tolerance


@ALL_WAYS
def test_exact_preconditioner_needs_one_iteration(execution: Execution) -> None:
    diagonal = np.geomspace(1, 1e6, 10)
    rhs = np.random.default_rng(5).normal(size=10)
    result = solve(
        np.diag(diagonal), rhs, 10, execution, preconditioner=lambda r: r / tf.constant(diagonal)
    )
    assert int(result.iterations) == 1
    np.testing.assert_allclose(result.solution, rhs / diagonal, rtol=1e-12)


@ALL_WAYS
def test_preconditioned_equals_cg_of_the_scaled_system(execution: Execution) -> None:
    matrix = positive_definite(6, 10, 100.0)
    rhs = np.random.default_rng(6).normal(size=10)
    scale = np.random.default_rng(7).uniform(0.5, 2.0, size=10)
    result = solve(matrix, rhs, 4, execution, preconditioner=lambda r: r / tf.constant(scale**2))
    scaled = matrix / np.outer(scale, scale)
    np.testing.assert_allclose(result.solution, textbook(scaled, rhs / scale, 4) / scale, rtol=1e-8)


@pytest.mark.parametrize("exponent", [-12, -6, 6, 12])
def test_linear_in_the_right_hand_side(exponent: int) -> None:
    matrix = positive_definite(8, 6, 10.0).astype(np.float32)
    rhs = np.random.default_rng(8).normal(size=6).astype(np.float32)
    plain, scaled = solve(matrix, rhs, 6), solve(matrix, rhs * np.float32(10.0**exponent), 6)
    np.testing.assert_allclose(
        scaled.solution / np.float32(10.0**exponent), plain.solution, rtol=1e-3
    )


def test_repeats_bit_for_bit() -> None:
    matrix = positive_definite(9, 20, 100.0).astype(np.float32)
    rhs = np.random.default_rng(9).normal(size=20).astype(np.float32)
    first, second = (solve(matrix, rhs, 10, Execution.XLA) for _ in range(2))
    np.testing.assert_array_equal(first.solution, second.solution)


@pytest.mark.parametrize(
    ("max_iterations", "tolerance", "words"),
    [(0, 0.0, "max_iterations must be >= 1, got 0"), (1, -1.0, "tolerance must be >= 0, got -1")],
)
def test_bad_arguments(max_iterations: int, tolerance: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        conjugate_gradient(lambda p: p, tf.ones([2]), max_iterations, tolerance)
