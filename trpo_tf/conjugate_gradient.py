"""Conjugate gradients for a symmetric positive (semi-)definite system given by its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class CGResult(NamedTuple):
    """Where conjugate gradients stopped.

    Attributes:
        solution: x, [P].
        residual_norm: ‖b − Ax‖ / ‖b‖ of the recursion; 0 when b = 0.
        iterations: products Ap that entered the solution.
        quadratic: xᵀAx.
    """

    solution: Any
    residual_norm: Any
    iterations: Any
    quadratic: Any


class _State(NamedTuple):
    iteration: Any
    solution: Any
    residual: Any
    direction: Any
    residual_dot: Any
    direction_dot: Any
    largest_curvature: Any
    go_on: Any


def conjugate_gradient(
    matvec: Callable[[Any], Any],
    rhs: Any,
    max_iterations: int,
    tolerance: float = 1e-10,
    preconditioner: Callable[[Any], Any] | None = None,
) -> CGResult:
    """Solves Ax = b approximately, starting from zero.

    Stops after `max_iterations`, when ‖r‖ ≤ `tolerance`·‖b‖, or when a direction has no positive
    curvature to working precision (pᵀAp ≤ ε·pᵀp times the largest curvature met, or not finite),
    keeping the x reached so far; b may thus lie outside the range of a singular A. A zero
    right-hand side gives zero. Deterministic: nothing is random. The quadratic form comes for free
    from Ax = b − r.

    Source: Nocedal and Wright, Numerical Optimization (2nd ed.), algorithms 5.2 and 5.3.

    Args:
        matvec: p [P] ↦ Ap [P].
        rhs: b, [P].
        max_iterations: products with A at the most.
        tolerance: relative size of the residual at which to stop.
        preconditioner: r [P] ↦ M⁻¹r [P] with M symmetric positive definite; None: identity.

    Returns:
        A `CGResult`.

    Raises:
        ValueError: if `max_iterations` < 1 or `tolerance` < 0.

    >>> A = tf.constant([[4.0, 1.0], [1.0, 3.0]])
    >>> result = conjugate_gradient(lambda p: tf.linalg.matvec(A, p), tf.constant([1.0, 2.0]), 10)
    >>> [round(float(entry), 4) for entry in result.solution]
    [0.0909, 0.6364]
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be >= 1, got {max_iterations}. 10 is typical.")
    if tolerance < 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}. 1e-10 is typical.")
    precondition = preconditioner or (lambda residual: residual)
    rhs_norm = tf.norm(rhs)
    epsilon = np.finfo(rhs.dtype.as_numpy_dtype).eps

    def body(state: _State) -> tuple[_State]:
        product = matvec(state.direction)
        curvature = tf.tensordot(state.direction, product, 1)
        # Both in the preconditioner's metric: pᵀMp follows from the recursion because pᵀr = 0.
        relative_curvature = curvature / state.direction_dot
        largest_curvature = tf.maximum(state.largest_curvature, relative_curvature)
        usable = tf.math.is_finite(relative_curvature) & (
            relative_curvature > epsilon * largest_curvature
        )
        alpha = tf.math.divide_no_nan(state.residual_dot, curvature)
        solution = state.solution + alpha * state.direction
        residual = state.residual - alpha * product
        preconditioned = precondition(residual)
        residual_dot = tf.tensordot(residual, preconditioned, 1)
        beta = tf.math.divide_no_nan(residual_dot, state.residual_dot)
        stepped = _State(
            iteration=state.iteration + 1,
            solution=solution,
            residual=residual,
            direction=preconditioned + beta * state.direction,
            residual_dot=residual_dot,
            direction_dot=residual_dot + beta**2 * state.direction_dot,
            largest_curvature=largest_curvature,
            go_on=(tf.norm(residual) > tolerance * rhs_norm) & (residual_dot > 0),
        )
        stopped = state._replace(go_on=tf.constant(False))
        return (tf.nest.map_structure(lambda a, b: tf.where(usable, a, b), stepped, stopped),)

    preconditioned = precondition(rhs)
    residual_dot = tf.tensordot(rhs, preconditioned, 1)
    start = _State(
        iteration=tf.constant(0),
        solution=tf.zeros_like(rhs),
        residual=rhs,
        direction=preconditioned,
        residual_dot=residual_dot,
        direction_dot=residual_dot,
        largest_curvature=tf.zeros_like(residual_dot),
        go_on=residual_dot > 0,
    )
    (end,) = tf.while_loop(
        lambda state: state.go_on & (state.iteration < max_iterations), body, (start,)
    )
    return CGResult(
        solution=end.solution,
        residual_norm=tf.math.divide_no_nan(tf.norm(end.residual), rhs_norm),
        iterations=end.iteration,
        quadratic=tf.tensordot(end.solution, rhs - end.residual, 1),
    )
