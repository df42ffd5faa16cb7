"""What `run.py` and `rival.py` have found so far: the table, in Markdown, and the learning curves.

python -m experiments.mujoco.report
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import app, flags

from experiments.campaign.analysis import (
    digits,
    interquartile_mean,
    load,
    load_curves,
    spread,
)
from experiments.mujoco import published
from experiments.mujoco.curves import draw
from experiments.mujoco.protocol import TASKS

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds that are reported.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results are.")
_HEADER = (
    "task",
    "final",
    "interquartile mean [95 %]",
    "best over training",
    "training",
    "rival final",
    "rival best",
    "rival training",
    "published, several seeds",
    "published, other",
)
_COLUMNS = ("final_mean", "best_over_training", "train_return")


def main(_: list[str]) -> None:
    directory = Path(_DIRECTORY.value)
    key: dict[str, Any] = {"task": "task", "settings": "", "seed": tuple(_SEEDS.value)}
    ours = {name: load(directory / "results.csv", name, **key) for name in _COLUMNS}
    rival = {name: load(directory / "rival_results.csv", name, task="task") for name in _COLUMNS}
    tasks = [task for task in TASKS if task in ours["final_mean"]]
    print(_row(_HEADER))
    print(_row(["---"] * len(_HEADER)))
    for task in tasks:
        final, best, training = (_spread(ours, name, task) for name in _COLUMNS)
        middle = interquartile_mean(ours["final_mean"][task])
        others = [_spread(rival, name, task) for name in _COLUMNS]
        known = [_published(of, task) for of in (published.SEVERAL_SEEDS, published.OTHERS)]
        shown = f"{middle:{digits(middle.value)}}"
        print(_row([f"{task}-v5", final, shown, best, training, *others, *known]))
    print()
    for source, protocol in published.PROTOCOLS.items():
        print(f"- {source}: {protocol}.")
    curves = load_curves(directory / "evaluations.csv", "env_steps", "eval_mean", **key)
    theirs = load_curves(directory / "rival_evaluations.csv", "env_steps", "eval_mean", task="task")
    draw({task: curves[task] for task in tasks}, theirs, directory / "learning_curves.png")


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(found: dict[str, dict], name: str, task: str) -> str:
    return spread(found[name][task]) if task in found[name] else "–"


def _published(known: dict[str, published.Published], task: str) -> str:
    if task not in known:
        return "–"
    mean, deviation, source = known[task]
    error = "" if deviation is None else f" ± {deviation:g}"
    return f"{mean:g}{error} ({source})"


if __name__ == "__main__":
    app.run(main)
