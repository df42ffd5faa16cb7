"""Line searches on objectives whose every step is known, against a scan of all step sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.line_search import (
    Backtracking,
    Candidate,
    FillTrustRegion,
    LineSearch,
    SearchResult,
)

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
SEARCHES = pytest.mark.parametrize("search", [FillTrustRegion(), Backtracking()])
MAX_KL = 0.01
NAN, INF = math.nan, math.inf


class Landscape(NamedTuple):
    """KL and improvement along a direction."""

    kl: Callable[[Any], Any]
    improvement: Callable[[Any], Any]


def where(condition: Any, yes: Any, no: Any) -> Any:
    return tf.where(condition, tf.cast(yes, tf.float64), tf.cast(no, tf.float64))


# In each, steps that the surrogate allows reach the edge of the region.
REACHING = {
    "quadratic": Landscape(lambda s: s**2 / 2, lambda s: s),
    "flat at first": Landscape(lambda s: s**4, lambda s: s),
    "steep": Landscape(lambda s: tf.math.expm1(s**2), lambda s: s),
    "linear": Landscape(lambda s: s, lambda s: s),
    "square root": Landscape(lambda s: tf.sqrt(s), lambda s: s),
    "wavy": Landscape(lambda s: s**2 * (1 + 0.9 * tf.sin(8 * tf.math.log(s))), lambda s: s),
    "tiny unit": Landscape(lambda s: (s * 1e8) ** 2, lambda s: s),
    "huge unit": Landscape(lambda s: (s * 1e-8) ** 2, lambda s: s),
    "NaN beyond": Landscape(lambda s: where(s < 1, s**2, NAN), lambda s: where(s < 1, s, NAN)),
    "infinite beyond": Landscape(lambda s: where(s < 1, s**2, INF), lambda s: s),
    "tiny improvement": Landscape(lambda s: s**2 / 2, lambda s: 1e-30 * s),
}


def compiled(
    search: LineSearch, landscape: Landscape, execution: Execution
) -> Callable[[float, float], SearchResult]:
    function = execution.compile(
        lambda first, limit: search(
            lambda s: Candidate(landscape.kl(s), landscape.improvement(s)), first, limit
        )
    )
    return lambda first, limit: function(
        tf.constant(first, tf.float64), tf.constant(limit, tf.float64)
    )


def recorded(
    search: LineSearch, landscape: Landscape, first_step: float, max_kl: float = MAX_KL
) -> tuple[SearchResult, list[float]]:
    """The search's result and every step size that it tried."""
    tried: list[float] = []

    def kl(step: Any) -> Any:
        tried.append(float(step))
        return landscape.kl(step)

    spied = landscape._replace(kl=kl)
    return compiled(search, spied, Execution.EAGER)(first_step, max_kl), tried


def holds(landscape: Landscape, step: float, max_kl: float = MAX_KL * (1 + 1e-12)) -> bool:
    kl = float(landscape.kl(tf.constant(step, tf.float64)))
    improvement = float(landscape.improvement(tf.constant(step, tf.float64)))
    inside = math.isfinite(kl) and kl <= max_kl
    return inside and math.isfinite(improvement) and improvement > 0


@ALL_WAYS
@pytest.mark.parametrize("name", REACHING)
def test_fills_the_region(execution: Execution, name: str) -> None:
    landscape = REACHING[name]
    search = compiled(FillTrustRegion(), landscape, execution)
    unit = {"tiny unit": 1e-8, "huge unit": 1e8}.get(name, 1.0)
    for start in (0.001, 0.05, 0.1, 0.3, 10.0):
        result = search(start * unit, MAX_KL)
        assert bool(result.accepted)
        assert 0.9 * MAX_KL <= float(result.kl) <= MAX_KL
        assert holds(landscape, float(result.step_size))
        step = result.step_size
        np.testing.assert_allclose(result.kl, landscape.kl(step), rtol=1e-12)
        np.testing.assert_allclose(result.improvement, landscape.improvement(step), rtol=1e-12)


@ALL_WAYS
@pytest.mark.parametrize("peak", [0.003, 0.02, 0.05, 0.09, 0.12])
def test_stops_where_the_surrogate_stops_improving(execution: Execution, peak: float) -> None:
    """Improvement is positive up to `peak` only: go as near as the bracket's width allows."""
    landscape = Landscape(lambda s: s**2, lambda s: s * (peak - s))
    result = compiled(FillTrustRegion(), landscape, execution)(0.1, MAX_KL)
    edge = min(peak, 0.1)
    assert bool(result.accepted)
    assert holds(landscape, float(result.step_size))
    assert float(result.step_size) >= edge / 1.06


@SEARCHES
@ALL_WAYS
@pytest.mark.parametrize(
    ("landscape", "met"),
    [
        (Landscape(lambda s: s**2, lambda s: -s), True),
        (Landscape(lambda s: s**2, lambda s: 0 * s), True),
        (Landscape(lambda s: s**2, lambda s: s * NAN), True),
        (Landscape(lambda s: s**2, lambda s: s + INF), True),
        (Landscape(lambda s: 1 + s**2, lambda s: s), False),
        (Landscape(lambda s: s * NAN, lambda s: s), False),
        (Landscape(lambda s: s + INF, lambda s: s), False),
        (Landscape(lambda s: s - INF, lambda s: s), False),
    ],
)
def test_refuses_when_nothing_holds(
    execution: Execution, search: LineSearch, landscape: Landscape, met: bool
) -> None:
    result = compiled(search, landscape, execution)(0.1, MAX_KL)
    assert not bool(result.accepted)
    assert float(result.step_size) == float(result.kl) == float(result.improvement) == 0
    assert bool(result.met_constraint) is met
    assert int(result.num_refused) == search.max_evaluations  # type: ignore[attr-defined]


def random_landscape(seed: int) -> Landscape:
    rng = np.random.default_rng(seed)
    power, ripple, phase, edge = rng.uniform([1, 0, 0, 0.05], [3, 1.5, 6, 0.5])
    sign = rng.choice([1.0, 1.0, -1.0])
    gap = rng.uniform(0.02, 0.2)

    def kl(s: Any) -> Any:
        smooth = tf.abs(s) ** power * (1 + ripple * tf.sin(30 * s + phase))
        return where((s > gap) & (s < 1.3 * gap), NAN, smooth)

    def improvement(s: Any) -> Any:
        return where((s > edge) & (s < 1.5 * edge), INF, sign * s * tf.cos(20 * s + phase))

    return Landscape(kl, improvement)


@SEARCHES
@pytest.mark.parametrize("seed", range(60))
def test_never_returns_a_rejected_point(search: LineSearch, seed: int) -> None:
    """On ragged landscapes with gaps of NaN and infinity."""
    landscape = random_landscape(seed)
    first_step = float(np.random.default_rng(seed).choice([0.003, 0.1, 2.0]))
    result, tried = recorded(search, landscape, first_step)
    held = [step for step in tried if holds(landscape, step)]
    assert bool(result.accepted) == bool(held)
    assert float(result.step_size) == max(held, default=0.0)
    assert int(result.num_refused) == len(tried) - len(held)
    assert all(step > 0 and math.isfinite(step) for step in tried)


@ALL_WAYS
def test_backtracking_takes_the_first_that_holds(execution: Execution) -> None:
    """Steps 1, 0.8, 0.64, …: the first with step² ≤ limit."""
    search = compiled(Backtracking(), Landscape(lambda s: s**2, lambda s: s), execution)
    for limit, expected in ((1.0, 0), (0.7, 1), (0.5, 2), (0.2, 4)):
        result = search(1.0, limit)
        np.testing.assert_allclose(result.step_size, 0.8**expected, rtol=1e-12)
        assert int(result.num_refused) == expected


def test_backtracking_demands_improvement_too() -> None:
    landscape = Landscape(lambda s: s**2, lambda s: 0.7 - s)
    result, tried = recorded(Backtracking(shrink=0.5), landscape, 1.0, max_kl=10.0)
    assert (float(result.step_size), int(result.num_refused)) == (0.5, 1)
    assert tried == [1.0, 0.5]


def test_backtracking_gives_up() -> None:
    landscape = Landscape(lambda s: s**2, lambda s: s)
    result, tried = recorded(Backtracking(shrink=0.5, max_evaluations=3), landscape, 1.0)
    assert tried == [1.0, 0.5, 0.25]
    assert not bool(result.accepted)


def test_filling_costs_few_evaluations() -> None:
    """From the classic first length, one rescaling does on a quadratic."""
    for damping in (1.0, 2.0, 10.0):
        landscape = Landscape(lambda s: s**2 / 2, lambda s: s)
        _, tried = recorded(FillTrustRegion(), landscape, math.sqrt(2 * MAX_KL / damping))
        assert len(tried) <= 3


@SEARCHES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes(search: LineSearch, dtype: str) -> None:
    result = Execution.XLA.compile(
        lambda first, limit: search(lambda s: Candidate(s**2, s), first, limit)
    )(tf.constant(0.3, dtype), tf.constant(MAX_KL, dtype))
    assert bool(result.accepted)
    assert {result.step_size.dtype, result.kl.dtype, result.improvement.dtype} == {
        tf.as_dtype(dtype)
    }


@SEARCHES
def test_no_room_at_all(search: LineSearch) -> None:
    """δ = 0, as staleness may leave it: the first step has length 0 and is refused."""
    result, _ = recorded(search, Landscape(lambda s: s**2, lambda s: s), 0.0, max_kl=0.0)
    assert not bool(result.accepted)
    assert float(result.step_size) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FillTrustRegion(fill=0.0), "fill must lie in"),
        (lambda: FillTrustRegion(fill=1.0), "fill must lie in"),
        (lambda: FillTrustRegion(max_evaluations=0), "max_evaluations must be >= 1, got 0"),
        (lambda: Backtracking(shrink=1.0), r"shrink must lie in \(0, 1\), got 1.0"),
        (lambda: Backtracking(shrink=-0.5), "shrink must lie in"),
        (lambda: Backtracking(max_evaluations=0), "max_evaluations must be >= 1, got 0"),
    ],
)
def test_bad_arguments(make: Callable[[], LineSearch], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
