"""What `run.py` has found so far: a table of ratios, in Markdown, and curves, a panel each.

python -m experiments.ablations.report
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from absl import app, flags

mpl.use("Agg")
from matplotlib import pyplot as plt

from experiments.ablations.conditions import ABLATIONS, CONDITIONS, PRESET
from experiments.campaign.analysis import load, load_curves, relative, spread

_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results are.")
_COLUMNS = {"eval_mean": "deterministic", "train_return": "training"}
_COLOURS = ("#d1662a", "#4d9a5b", "#8a5fb0")
_POINTS = ("end", "episode_return")
_PANELS_A_ROW = 3


def main(_: list[str]) -> None:
    directory = Path(_DIRECTORY.value)
    for column, what in _COLUMNS.items():
        print_table(directory / "results.csv", column, what)
    draw(directory)


def print_table(path: Path, column: str, what: str) -> None:
    """Returns by condition and task, and their ratio to the preset's over the tasks."""
    baseline = load(path, column, condition=PRESET)
    print(f"\n| {what} return | {' | '.join(baseline)} | of the preset's [95 %] |")
    print("|---" * (len(baseline) + 2) + "|")
    for condition in CONDITIONS:
        returns = load(path, column, condition=condition)
        if returns:
            tasks = [spread(returns[task]) if task in returns else "–" for task in baseline]
            ratio = "1" if condition == PRESET else f"{relative(returns, baseline)}"
            print(f"| {condition} | {' | '.join(tasks)} | {ratio} |")


def draw(directory: Path) -> None:
    """Training returns as shares of what the preset reaches at the end, means over tasks."""
    scale = load(directory / "results.csv", "train_return", condition=PRESET)
    rows = -(-len(ABLATIONS) // _PANELS_A_ROW)
    size = (4.2 * _PANELS_A_ROW, 3.2 * rows)
    figure, panels = plt.subplots(rows, _PANELS_A_ROW, figsize=size, dpi=110, sharey=True)
    for (question, alternatives), panel in zip(ABLATIONS.items(), panels.flat, strict=True):
        lines = [(PRESET, "#30363d"), *zip(alternatives, _COLOURS, strict=False)]
        for condition, colour in lines:
            curves = load_curves(directory / "curves.csv", *_POINTS, condition=condition)
            if curves.keys() & scale.keys():
                steps, shares = _shares(curves, scale)
                low, high = shares.min(axis=0), shares.max(axis=0)
                panel.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
                panel.plot(steps, shares.mean(axis=0), color=colour, label=condition)
        panel.set_title(question, loc="left", fontweight="bold", fontsize="medium")
        panel.grid(True, color="#dde2e7")
        panel.legend(frameon=False, fontsize="small")
    for panel in panels[-1]:
        panel.set_xlabel("environment steps")
    for panel in panels[:, 0]:
        panel.set_ylabel("training return / preset's last")
    figure.tight_layout()
    figure.savefig(directory / "ablations.png")


def _shares(
    curves: Mapping[str, np.ndarray], scale: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps [points] and, as shares of the scale's mean, returns [seeds, points]."""
    tasks = sorted(curves.keys() & scale.keys())
    # While a campaign is under way, seeds that all tasks have.
    seeds = min(len(curves[task]) for task in tasks)
    shares = [curves[task][:seeds, :, 1] / scale[task].mean() for task in tasks]
    means = np.mean(shares, axis=0)
    # A span may be too short for an episode to end in it.
    is_known = np.isfinite(means).all(axis=0)
    return curves[tasks[0]][0, is_known, 0], means[:, is_known]


if __name__ == "__main__":
    app.run(main)
