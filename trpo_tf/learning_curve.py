"""The picture of a run: returns against environment steps."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from trpo_tf import atomic_files
from trpo_tf.progress_file import read_progress

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#e07b22", "#55606b"


def plot_learning_curve(
    progress_csv: str | os.PathLike[str], png: str | os.PathLike[str], title: str = ""
) -> None:
    """Draws the returns of training episodes and of evaluations against environment steps.

    Evaluations have a band of one standard deviation over their episodes. Where no episode has
    ended yet the picture says so.

    Args:
        progress_csv: a run's `progress.csv`.
        png: the picture; replaced in one step where there is one.
        title: above the picture, the environment's id say.

    Raises:
        ImportError: matplotlib is not installed; says how to install it.
        FileNotFoundError: there is no such `progress.csv`.
        ValueError: it is no progress file.
        OSError: the picture cannot be written; names the path.
    """
    figure_type = _figure_type()
    columns = read_progress(progress_csv)
    figure = figure_type(figsize=(8.0, 4.8), dpi=150, layout="constrained")
    _draw(figure.add_subplot(), columns, title)
    atomic_files.atomic_write_bytes(png, _rendered(figure))


def _figure_type() -> Any:
    try:
        # No pyplot: no windows, no global state, nothing that another plot of the process sees.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The learning curve needs matplotlib, which is not installed. "
            'Install it with: pip install "trpo_tf[plot]"',
            name="matplotlib",
        ) from error
    return lambda **settings: FigureCanvasAgg(Figure(**settings)).figure


def _draw(axes: Any, columns: dict[str, np.ndarray], title: str) -> None:
    steps = _numbers(columns, "env_steps")
    has_training = _draw_training(axes, steps, _numbers(columns, "episode_return_mean"))
    has_evaluations = _draw_evaluations(axes, steps, columns)
    axes.set_xlabel("environment steps", color=_GREY)
    axes.set_ylabel("return of an episode", color=_GREY)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.xaxis.set_major_formatter(lambda value, _position: _steps_text(value))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,.6g}")
    axes.grid(True, color="#dde2e7", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlim(0, 1.02 * np.max(steps, initial=1.0, where=np.isfinite(steps)))
    if has_training or has_evaluations:
        axes.legend(frameon=False, loc="best")
    else:
        axes.text(
            0.5, 0.5, "no episode has ended yet", ha="center", color=_GREY, transform=axes.transAxes
        )
        axes.set_yticks([])
        axes.grid(False)


def _draw_training(axes: Any, steps: np.ndarray, returns: np.ndarray) -> bool:
    known = np.isfinite(returns) & np.isfinite(steps)
    if not known.any():
        return False
    axes.plot(
        steps[known],
        returns[known],
        color=_BLUE,
        linewidth=1.8,
        marker="o" if known.sum() == 1 else "",
        label="training, mean of the last 100 episodes",
    )
    return True


def _draw_evaluations(axes: Any, steps: np.ndarray, columns: dict[str, np.ndarray]) -> bool:
    means = _numbers(columns, "eval_return_mean")
    known = np.isfinite(means) & np.isfinite(steps)
    if not known.any():
        return False
    deviations = _numbers(columns, "eval_return_std")[known]
    deviations = np.where(np.isfinite(deviations), deviations, 0.0)
    low, high = means[known] - deviations, means[known] + deviations
    axes.fill_between(steps[known], low, high, color=_ORANGE, alpha=0.18, linewidth=0)
    axes.plot(
        steps[known],
        means[known],
        color=_ORANGE,
        linewidth=1.4,
        marker="o",
        markersize=4,
        label="evaluation, mean and standard deviation of its episodes",
    )
    return True


def _numbers(columns: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A column; all NaN where it is missing or holds texts."""
    rows = len(next(iter(columns.values()), []))
    column = columns.get(name)
    return np.full(rows, np.nan) if column is None or column.dtype.kind != "f" else column


def _steps_text(value: float) -> str:
    """Environment steps on the axis.

    >>> [_steps_text(value) for value in (0, 500, 20_000, 1_500_000, 2e9)]
    ['0', '500', '20k', '1.5M', '2,000M']
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.6g}M"
    return f"{value / 1e3:.6g}k" if abs(value) >= 1e3 else f"{value:.6g}"


def _rendered(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
