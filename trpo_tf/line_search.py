"""How far to go along a direction: the largest step inside the trust region that improves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf


class Candidate(NamedTuple):
    """What a step of some length would do, measured.

    Attributes:
        kl: the mean KL divergence from the start, [].
        improvement: what the objective gains, [].
    """

    kl: Any
    improvement: Any


class SearchResult(NamedTuple):
    """The step that a search settles on; `step_size` is 0 when every candidate was refused.

    Attributes:
        step_size: multiple of the direction, [].
        accepted: whether any candidate held, [] bool.
        kl: measured there, 0 when refused.
        improvement: measured there, 0 when refused.
        num_refused: candidates that did not hold.
        met_constraint: whether any finite candidate kept the constraint, [] bool.
    """

    step_size: Any
    accepted: Any
    kl: Any
    improvement: Any
    num_refused: Any
    met_constraint: Any


class LineSearch(Protocol):
    """A search over step sizes; it gives a scalar and knows nothing of parameters."""

    def __call__(
        self, evaluate: Callable[[Any], Candidate], first_step: Any, max_kl: Any
    ) -> SearchResult:
        """Searches from `first_step`, a scalar tensor > 0, for KL ≤ `max_kl`."""


class FillTrustRegion:
    """The largest step found whose *measured* KL is at most δ and whose objective improves.

    The classic length √(2δ/xᵀ(F+λI)x) under-fills the region when there is damping. This search
    rescales the step by √(0.95 δ/KL), as the KL grows with the square of the step, until the KL
    lies between `fill`·δ and δ. A step that leaves the region or does not improve bounds the next
    ones from above, the largest one that holds bounds them from below, and candidates that fall
    outside halve that bracket. A candidate that is not finite never holds.

    Args:
        fill: the share of δ, in (0, 1), that ends the search.
        max_evaluations: candidates at the most, ≥ 1.

    Raises:
        ValueError: if an argument is out of range.

    >>> search = FillTrustRegion()
    >>> square = lambda step: Candidate(kl=step**2, improvement=step)
    >>> 0.9 <= search(square, tf.constant(0.1), tf.constant(1.0)).kl.numpy() <= 1.0
    np.True_
    """

    _AIM = 0.95
    _NARROW = 1.02

    def __init__(self, fill: float = 0.9, max_evaluations: int = 20) -> None:
        if not 0 < fill < self._AIM:
            raise ValueError(f"fill must lie in (0, {self._AIM}), got {fill}. 0.9 is typical.")
        if max_evaluations < 1:
            raise ValueError(f"max_evaluations must be >= 1, got {max_evaluations}. 20 is typical.")
        self.fill = fill
        self.max_evaluations = max_evaluations

    def __call__(
        self, evaluate: Callable[[Any], Candidate], first_step: Any, max_kl: Any
    ) -> SearchResult:
        """Searches from `first_step`, a scalar tensor > 0, for KL ≤ `max_kl`."""
        dtype = first_step.dtype
        infinity = tf.constant(float("inf"), dtype)

        def body(count: Any, step: Any, upper: Any, _: Any, best: SearchResult) -> tuple[Any, ...]:
            candidate = evaluate(step)
            best, holds, inside = _judge(best, step, candidate, max_kl)
            upper = tf.where(holds, upper, tf.minimum(upper, step))
            filled = best.accepted & (best.kl >= self.fill * max_kl)
            narrow = best.accepted & (upper <= best.step_size * self._NARROW)
            following = self._following(step, candidate.kl, max_kl, inside & ~holds)
            following = _into_bracket(following, best.step_size, upper)
            return count + 1, following, upper, filled | narrow, best

        *_, best = tf.while_loop(
            lambda count, step, upper, done, best: (count < self.max_evaluations) & ~done,
            body,
            (tf.constant(0), first_step, infinity, tf.constant(False), _nothing(dtype)),
        )
        return best

    def _following(self, step: Any, kl: Any, max_kl: Any, too_long_to_improve: Any) -> Any:
        factor = tf.sqrt(self._AIM * max_kl / tf.maximum(kl, 1e-3 * self._AIM * max_kl))
        factor = tf.clip_by_value(factor, 0.05, 4.0)
        # A step that is not finite, or inside the region without improving, says only: shorter.
        shorter = too_long_to_improve | ~tf.math.is_finite(kl)
        return step * tf.where(shorter, tf.constant(0.5, step.dtype), factor)


class Backtracking:
    """The classic search: the first of 1, s, s², … times the first step that holds.

    Source: Schulman et al. 2015 (TRPO), appendix C.

    Args:
        shrink: s in (0, 1).
        max_evaluations: candidates at the most, ≥ 1.

    Raises:
        ValueError: if an argument is out of range.

    >>> square = lambda step: Candidate(kl=step**2, improvement=step)
    >>> search = Backtracking(shrink=0.5)
    >>> search(square, tf.constant(2.0), tf.constant(1.0)).step_size.numpy().item()
    1.0
    """

    def __init__(self, shrink: float = 0.8, max_evaluations: int = 10) -> None:
        if not 0 < shrink < 1:
            raise ValueError(f"shrink must lie in (0, 1), got {shrink}. 0.8 is typical.")
        if max_evaluations < 1:
            raise ValueError(f"max_evaluations must be >= 1, got {max_evaluations}. 10 is typical.")
        self.shrink = shrink
        self.max_evaluations = max_evaluations

    def __call__(
        self, evaluate: Callable[[Any], Candidate], first_step: Any, max_kl: Any
    ) -> SearchResult:
        """Searches from `first_step`, a scalar tensor > 0, for KL ≤ `max_kl`."""

        def body(count: Any, step: Any, best: SearchResult) -> tuple[Any, ...]:
            best, _, _ = _judge(best, step, evaluate(step), max_kl)
            return count + 1, step * self.shrink, best

        *_, best = tf.while_loop(
            lambda count, step, best: (count < self.max_evaluations) & ~best.accepted,
            body,
            (tf.constant(0), first_step, _nothing(first_step.dtype)),
        )
        return best


def _nothing(dtype: Any) -> SearchResult:
    zero = tf.constant(0, dtype)
    return SearchResult(zero, tf.constant(False), zero, zero, tf.constant(0), tf.constant(False))


def _judge(
    best: SearchResult, step: Any, candidate: Candidate, max_kl: Any
) -> tuple[SearchResult, Any, Any]:
    """The best so far, whether this candidate holds, and whether it kept the constraint."""
    inside = tf.math.is_finite(candidate.kl) & (candidate.kl <= max_kl)
    improves = tf.math.is_finite(candidate.improvement) & (candidate.improvement > 0)
    holds = inside & improves
    better = holds & (step > best.step_size)
    best = SearchResult(
        step_size=tf.where(better, step, best.step_size),
        accepted=best.accepted | holds,
        kl=tf.where(better, candidate.kl, best.kl),
        improvement=tf.where(better, candidate.improvement, best.improvement),
        num_refused=best.num_refused + tf.cast(~holds, tf.int32),
        met_constraint=best.met_constraint | inside,
    )
    return best, holds, inside


def _into_bracket(step: Any, lower: Any, upper: Any) -> Any:
    """`step` where it lies between the bounds, else the middle of them on a log scale."""
    middle = tf.where(lower > 0, tf.sqrt(lower) * tf.sqrt(upper), upper / 2)
    outside = tf.math.is_finite(upper) & ((step >= upper) | (step <= lower))
    return tf.where(outside, middle, step)
