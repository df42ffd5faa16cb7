"""Returns of runs by task and seed, and estimates of them with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.campaign.grid import read

_CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value with its interval, not a number where there is but one seed."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        interval = "" if np.isnan(self.low) else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}}{interval}"


def load(path: Path, column: str, task: str = "env", **key: Any) -> dict[str, np.ndarray]:
    """A column's values by task, ordered by seed.

    Args:
        path: a CSV file with one row a run.
        column: whose values.
        task: the column that names the task.
        key: what rows must hold; of a tuple, any of its values.
    """
    rows = _select(path, key)
    return {
        name: np.array([float(row[column]) for row in rows if row[task] == name])
        for name in sorted({row[task] for row in rows})
    }


def load_curves(path: Path, x: str, y: str, task: str = "env", **key: Any) -> dict[str, np.ndarray]:
    """Curves by task, [seeds, points, 2]; an empty cell is not a number.

    Args:
        path: a CSV file with one row a point.
        x, y: columns.
        task: the column that names the task.
        key: as for `load`.
    """
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in _select(path, key):
        curves = points.setdefault(row[task], {})
        curves.setdefault(row["seed"], []).append((float(row[x]), float(row[y] or "nan")))
    return {name: np.array(list(curves.values())) for name, curves in sorted(points.items())}


def _select(path: Path, key: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows with this key, ordered by seed."""
    wanted = {
        name: {str(one) for one in value} if isinstance(value, tuple) else {str(value)}
        for name, value in key.items()
    }
    rows = [row for row in read(path) if all(row[name] in of for name, of in wanted.items())]
    return sorted(rows, key=lambda row: int(row["seed"]))


def relative(returns: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]) -> Estimate:
    """The mean over tasks of (mean return / the baseline's mean return).

    Of all tasks that both know; seeds are drawn again task by task and side by side.

    Source: Agarwal et al. 2021 (stratified bootstrap), here of the mean, by `scipy.stats`.
    """
    tasks = sorted(returns.keys() & baseline.keys())

    def mean_ratio(*columns: np.ndarray, axis: int = -1) -> Any:
        means = [np.mean(column, axis=axis) for column in columns]
        return np.mean([a / b for a, b in zip(means[::2], means[1::2], strict=True)], axis=0)

    return _estimate([side[task] for task in tasks for side in (returns, baseline)], mean_ratio)


def interquartile_mean(values: np.ndarray) -> Estimate:
    """The mean of the middle half of the seeds.

    Source: Agarwal et al. 2021, whose library (rliable 1.2.0) could not be imported beside
    pandas 3; here by `scipy.stats`.
    """

    def middle(column: np.ndarray, axis: int = -1) -> Any:
        return stats.trim_mean(column, 0.25, axis=axis)

    return _estimate([values], middle)


def _estimate(samples: Sequence[np.ndarray], statistic: Callable[..., Any]) -> Estimate:
    value = float(statistic(*samples))
    if min(len(sample) for sample in samples) < 2:
        return Estimate(value, np.nan, np.nan)
    interval = stats.bootstrap(
        samples,
        statistic,
        confidence_level=_CONFIDENCE,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def spread(values: Sequence[float] | np.ndarray) -> str:
    """Mean ± standard deviation (of a sample; none of a single value), and of how many."""
    mean = float(np.mean(values))
    shown = digits(mean)
    deviation = f" ± {np.std(values, ddof=1):{shown}}" if len(values) > 1 else ""
    return f"{mean:{shown}}{deviation} ({len(values)})"


def digits(value: float) -> str:
    """How a return of this size is shown."""
    return ".0f" if abs(value) >= 100 else ".1f"
