"""What `run.py` has found so far beside the zoo's figures, as a table in Markdown.

python -m experiments.classic.report
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.campaign.analysis import load, spread
from experiments.classic.zoo import ZOO

_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results are.")


def main(_: list[str]) -> None:
    results = Path(_DIRECTORY.value) / "results.csv"
    deterministic, training = (load(results, name) for name in ("eval_mean", "train_return"))
    print("| task | steps | deterministic | training | zoo (one run) | at or above |")
    print("|---|---|---|---|---|---|")
    for task, zoo in ZOO.items():
        if task in deterministic:
            returns = deterministic[task]
            reached = "yes" if returns.mean() >= zoo.mean else "no"
            cells = [
                task,
                f"{zoo.total_steps:,}",
                spread(returns),
                spread(training[task]),
                f"{zoo.mean:g} ± {zoo.deviation:g}",
                reached if zoo.is_bar else "no bar",
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    app.run(main)
