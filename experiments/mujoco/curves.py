"""The picture of the learning curves: a panel a task, ours solid and the rival's dashed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_COLUMNS = 5


def draw(ours: Mapping[str, np.ndarray], rival: Mapping[str, np.ndarray], path: Path) -> None:
    """Draws means over seeds, with bands from the lowest seed to the highest.

    Args:
        ours: [seeds, evaluations, 2] by task, environment steps and return.
        rival: the same.
        path: of the picture.
    """
    columns = min(_COLUMNS, len(ours))
    rows = -(-len(ours) // columns)
    size = (3.4 * columns, 2.8 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, dpi=110, squeeze=False)
    for panel in panels.flat[len(ours) :]:
        panel.set_visible(False)
    for (task, curves), panel in zip(ours.items(), panels.flat, strict=False):
        _line(panel, curves, "trpo_tf", "#1f6fb4", "-")
        if task in rival:
            _line(panel, rival[task], "sb3-contrib, zoo settings", "#d1662a", "--")
        panel.set_title(f"{task}-v5", loc="left", fontweight="bold")
        panel.grid(True, color="#dde2e7")
    for panel in panels[:, 0]:
        panel.set_ylabel("deterministic return")
    for panel in panels[-1]:
        panel.set_xlabel("environment steps")
    panels[0, 0].legend(frameon=False, fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def _line(panel: Axes, curves: np.ndarray, label: str, colour: str, style: str) -> None:
    steps, returns = curves[:, :, 0].mean(axis=0), curves[:, :, 1]
    panel.fill_between(
        steps, returns.min(axis=0), returns.max(axis=0), color=colour, alpha=0.15, linewidth=0
    )
    panel.plot(steps, returns.mean(axis=0), color=colour, linestyle=style, label=label)
