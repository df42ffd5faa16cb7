"""Returns of runs against those of a baseline: ratios of means with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.campaign.grid import read

_CONFIDENCE = 0.95


class Ratio(NamedTuple):
    """A mean over tasks of (mean return / the baseline's mean return), with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def load(path: Path, column: str, **key: Any) -> dict[str, np.ndarray]:
    """A column's values of the rows with this key, by environment, ordered by seed."""
    rows = [
        row for row in read(path) if all(row[name] == str(value) for name, value in key.items())
    ]
    rows.sort(key=lambda row: int(row["seed"]))
    return {
        env: np.array([float(row[column]) for row in rows if row["env"] == env])
        for env in sorted({row["env"] for row in rows})
    }


def relative(returns: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]) -> Ratio:
    """Compares on all tasks that both know; seeds are drawn again task by task and side by side.

    Source: Agarwal et al. 2021 (stratified bootstrap), here of the mean, by `scipy.stats`.
    """
    tasks = sorted(returns.keys() & baseline.keys())
    samples = [side[task] for task in tasks for side in (returns, baseline)]

    def mean_ratio(*columns: np.ndarray, axis: int = -1) -> Any:
        means = [np.mean(column, axis=axis) for column in columns]
        return np.mean([a / b for a, b in zip(means[::2], means[1::2], strict=True)], axis=0)

    value = float(mean_ratio(*samples))
    if min(len(sample) for sample in samples) < 2:
        return Ratio(value, np.nan, np.nan)
    interval = stats.bootstrap(
        samples,
        mean_ratio,
        confidence_level=_CONFIDENCE,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Ratio(value, float(interval.low), float(interval.high))


def spread(values: Sequence[float] | np.ndarray) -> str:
    """Mean ± standard deviation, and of how many."""
    return f"{np.mean(values):.0f} ± {np.std(values):.0f} ({len(values)})"
