"""Publishes each task's policy with the median final return of the reported seeds.

    python -m experiments.mujoco.export_medians --tasks=Walker2d

Evaluates what the run exported once more, checks the figure against `results.csv`, copies the model
to the next version of `saved_models/<Task>` (unless the last is the same), and writes the card.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import read
from experiments.mujoco import protocol, training
from experiments.mujoco.card import card
from trpo_tf import atomic_files, load_policy
from trpo_tf.model_versions import find_version, next_version

_TASKS = flags.DEFINE_list("tasks", list(protocol.TASKS), "Environments.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds that are reported.")
_RUNS = flags.DEFINE_string("runs", "runs/mujoco", "Where the run directories are.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results are.")
_MODELS = flags.DEFINE_string("models", "saved_models", "Where models are published.")


def main(_: list[str]) -> None:
    rows = read(Path(_DIRECTORY.value) / "results.csv")
    for task in _TASKS.value:
        reported = [
            row
            for row in rows
            if (row["task"], row["settings"]) == (task, "") and row["seed"] in _SEEDS.value
        ]
        if len(reported) < len(_SEEDS.value):
            print(f"{task}: {len(reported)} of {len(_SEEDS.value)} runs are done, none published.")
            continue
        # Of an even number, the lower of the two in the middle.
        reported.sort(key=lambda row: float(row["final_mean"]))
        _publish(task, reported[(len(reported) - 1) // 2])


def _publish(task: str, row: dict[str, str]) -> None:
    run = training.run_directory(Path(_RUNS.value), task, int(row["seed"]))
    source = find_version(training.exported(run))
    evaluation = training.final_evaluation(source)
    mean = evaluation.returns.mean()
    if f"{mean:.6g}" != row["final_mean"]:
        raise ValueError(f"{source} reaches {mean:.6g}, but its row says {row['final_mean']}.")
    version = _copy(source, Path(_MODELS.value) / task)
    text = card(
        load_policy(version),
        training.training_flags(task, int(row["seed"])),
        [int(seed) for seed in _SEEDS.value],
        evaluation,
        float(row["train_return"]),
    )
    atomic_files.atomic_write_text(version.parent / "README.md", text)
    print(f"{task}: seed {row['seed']} is published as {version}.")


def _copy(source: Path, base: Path) -> Path:
    """The published version of an export: a new one, or the last if that is the same."""
    number = next_version(base)
    if number > 1 and _metadata(find_version(base)) == _metadata(source):
        return find_version(base)
    version = base / str(number)
    with atomic_files.atomic_directory(version) as directory:
        shutil.copytree(source, directory, dirs_exist_ok=True)
    return version


def _metadata(version: Path) -> str:
    return (version / "assets.extra" / "metadata.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
