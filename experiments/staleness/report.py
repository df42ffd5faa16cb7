"""What `run.py` has found so far: the table, the picture, and the ratio that was to be reached.

python -m experiments.staleness.report
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from experiments.campaign.analysis import load, relative, spread

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results.csv"
_LAGS = (0, 1, 4, 16)
# The second five were added when the first ones were known.
_HALVES = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
_STYLES = {
    "full": ("corrected", "#1f6fb4", -0.08),
    "none": ("uncorrected", "#d1662a", 0.08),
    "without_trust_region": ("corrected, full trust region", "#4d9a5b", 0.0),
}


def main() -> None:
    for column in ("train_return", "eval_mean"):
        print(f"\n{column}: mean ± deviation (seeds); ratio to lag 0 over tasks [95 % interval]")
        baseline = load(_RESULTS, column, lag=0)
        for lag in _LAGS:
            for correction in _STYLES:
                returns = load(_RESULTS, column, lag=lag, correction=correction)
                if returns:
                    tasks = ", ".join(f"{env} {spread(of)}" for env, of in returns.items())
                    ratio = relative(returns, baseline)
                    print(f"lag {lag:2d} {correction:21s} {tasks}  {ratio}")
        for seeds in _HALVES:
            baseline = load(_RESULTS, column, lag=0, seed=seeds)
            for correction in ("full", "none"):
                returns = load(_RESULTS, column, lag=4, correction=correction, seed=seeds)
                ratio = relative(returns, baseline)
                print(f"lag  4 {correction:21s} of seeds {seeds[0]} to {seeds[-1]} {ratio}")
    draw()


def draw() -> None:
    """Training returns by lag: a dot a seed, a line through the means."""
    envs = sorted(load(_RESULTS, "train_return", lag=0))
    figure, panels = plt.subplots(1, len(envs), figsize=(5 * len(envs), 3.8), dpi=110)
    for env, panel in zip(envs, np.atleast_1d(panels), strict=True):
        baseline = load(_RESULTS, "train_return", lag=0)[env]
        for correction, (label, colour, shift) in _STYLES.items():
            found = {0: baseline}
            for lag in _LAGS[1:]:
                values = load(_RESULTS, "train_return", lag=lag, correction=correction).get(env)
                if values is not None:
                    found[lag] = values
            places = {lag: _LAGS.index(lag) + shift for lag in found}
            for lag, values in found.items():
                panel.plot([places[lag]] * len(values), values, "o", color=colour, alpha=0.35, ms=4)
            means = [np.mean(values) for values in found.values()]
            panel.plot(list(places.values()), means, "-o", color=colour, label=label, ms=6)
        panel.set_xticks(range(len(_LAGS)), [str(lag) for lag in _LAGS])
        panel.set_xlabel("age of the behaviour policy in updates")
        panel.set_title(f"{env}, 500k steps", loc="left", fontweight="bold")
        panel.set_ylim(bottom=0)
        panel.grid(True, color="#dde2e7")
    np.atleast_1d(panels)[0].set_ylabel("training return, last tenth")
    np.atleast_1d(panels)[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(_HERE / "returns_by_lag.png")


if __name__ == "__main__":
    main()
