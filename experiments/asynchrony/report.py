"""What `returns.py` has found so far: the table, the ratio with its interval, the picture.

python -m experiments.asynchrony.report
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from experiments.campaign.analysis import load, load_curves, relative, spread

_HERE = Path(__file__).parent
_RESULTS, _CURVES = _HERE / "results.csv", _HERE / "curves.csv"
_COLOURS = {"sync": "#1f6fb4", "async": "#d1662a"}


def main() -> None:
    for column in ("train_return", "eval_mean"):
        sync, asynchronous = (load(_RESULTS, column, sampler=name) for name in ("sync", "async"))
        print(f"\n{column}: mean ± deviation (seeds)")
        for env in sync:
            ratio = relative({env: asynchronous[env]}, sync)
            print(f"{env:12s} sync {spread(sync[env])}, async {spread(asynchronous[env])}: {ratio}")
        print(f"async / sync, mean over tasks [95 % interval]: {relative(asynchronous, sync)}")
    draw()


def draw() -> None:
    """Training returns: a thin line a seed, a thick one for the mean."""
    by_sampler = {
        sampler: load_curves(_CURVES, "end", "episode_return", sampler=sampler)
        for sampler in _COLOURS
    }
    envs = list(by_sampler["sync"])
    figure, panels = plt.subplots(1, len(envs), figsize=(4.6 * len(envs), 3.6), dpi=110)
    for env, panel in zip(envs, np.atleast_1d(panels), strict=True):
        for sampler, colour in _COLOURS.items():
            curves = by_sampler[sampler][env]
            for curve in curves:
                panel.plot(*curve.T, color=colour, alpha=0.25, linewidth=0.8)
            panel.plot(*np.nanmean(curves, 0).T, color=colour, linewidth=2, label=sampler)
        panel.set_title(env, loc="left", fontweight="bold")
        panel.set_xlabel("environment steps")
        panel.grid(True, color="#dde2e7")
    np.atleast_1d(panels)[0].set_ylabel("training return")
    np.atleast_1d(panels)[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(_HERE / "returns.png")


if __name__ == "__main__":
    main()
