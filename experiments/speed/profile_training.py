"""Where the time of a training goes, by a sampling profiler; one row of shares in profile.csv.

python -m experiments.speed.profile_training --label=sync --set=vectorization=sync
python -m experiments.speed.profile_training --label=async --set=vectorization=sync,sampler=async
python -m experiments.speed.profile_training --label=before --checkout=<an older checkout>
python -m experiments.speed.profile_training --draw

py-spy looks at the learner's thread a hundred times a second. The compiled update is one call to
it: a second training with a single epoch of critic steps says how much of that call an epoch takes.
Start-up, compilation and the export at the end are left out of the shares and given in seconds.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
from absl import app, flags

mpl.use("Agg")
from matplotlib import pyplot as plt

from experiments.campaign.grid import read

_LABEL = flags.DEFINE_string("label", "sync", "Names the row, which replaces one of that name.")
_CHECKOUT = flags.DEFINE_string("checkout", str(Path(__file__).parents[2]), "What is profiled.")
_SET = flags.DEFINE_list("set", [], "Settings of the training, name=value.")
_STEPS = flags.DEFINE_integer("total_steps", 200_000, "Environment steps of the training.")
_DRAW = flags.DEFINE_bool("draw", False, "Only draw profile.png from profile.csv.")
_RATE = 100
_HERE = Path(__file__).parent
# The first that matches anything in a stack counts. Frames: "Class.function (path.py:line)".
_LAYERS = [
    ("export", r"\bexport_policy \(trpo_tf/"),
    (
        "logging and checkpoints",
        r"\b(record|save|_keep_best|note) \(trpo_tf/(metrics|training_loop)",
    ),
    ("evaluation", r"\bevaluate \(trpo_tf/evaluation"),
    ("update", r"\bTRPO\.update \(trpo_tf/trpo"),
    ("stepping", r"\bstep \(trpo_tf/samplers/vector_env"),
    ("inference", r"\(trpo_tf/samplers/(log_probs|acting|action_noise)"),
    ("waiting for rollouts", r"\(trpo_tf/samplers/background"),
    ("other Python", r"\bTrainingLoop\.run \(trpo_tf/training_loop"),
]
_SHOWN = [
    "stepping",
    "waiting for rollouts",
    "inference",
    "policy step",
    "value regression",
    "logging and checkpoints",
    "other Python",
]


def main(_: list[str]) -> None:
    path = _HERE / "profile.csv"
    if not _DRAW.value:
        rows = [row for row in read(path) if row["label"] != _LABEL.value]
        rows.append(_profile())
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    _draw(read(path))


def _profile() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        stacks = Path(directory, "stacks.txt")
        options = [f"--rate={_RATE}", "--format=raw", "--idle", "--threads", f"--output={stacks}"]
        updates = _train(directory, "whole", ["py-spy", "record", *options, "--"])
        seconds = _seconds_by_layer(stacks.read_text())
        config = json.loads(Path(directory, "whole", "config.json").read_text())["settings"]
        one_epoch = statistics.median(_train(directory, "one", [], "--value_epochs=1")[1:])
    usual, epochs = statistics.median(updates[1:]), config["value_epochs"]
    critic = (usual - one_epoch) / (epochs - 1) * epochs / usual
    # The first update holds the compilation.
    compilation = updates[0] - usual
    update = seconds.pop("update") - compilation
    seconds |= {"policy step": update * (1 - critic), "value regression": update * critic}
    total = sum(seconds[name] for name in _SHOWN)
    shares = {name: f"{seconds[name] / total:.4f}" for name in _SHOWN}
    aside = {"start_up": seconds["start-up"], "compilation": compilation}
    aside |= {"training": total, "export": seconds["export"]}
    row = {"label": _LABEL.value, **shares}
    row |= {f"{name}_seconds": f"{value:.2f}" for name, value in aside.items()}
    print(row)
    return row


def _train(directory: str, name: str, prefix: list[str], *more: str) -> list[float]:
    """Trains in a process of its own; returns the seconds of each update."""
    logdir = Path(directory, name)
    arguments = [f"--{setting}" for setting in _SET.value] + list(more)
    command = [sys.executable, "-m", "trpo_tf.train", "--env=Walker2d", "--progress=none"]
    command += [f"--total_steps={_STEPS.value}", f"--logdir={logdir}", *arguments]
    command += [f"--export_dir={directory}/exported"]
    prefix = [str(Path(sys.executable).parent / part) for part in prefix[:1]] + prefix[1:]
    ended = subprocess.run(
        [*prefix, *command], cwd=_CHECKOUT.value, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with\n{ended.stdout}{ended.stderr}")
    return [float(row["update_seconds"]) for row in read(logdir / "progress.csv")]


def _seconds_by_layer(stacks: str) -> dict[str, float]:
    """Of the main thread; a line is "frame;frame;… count", the outermost first."""
    seconds = dict.fromkeys([*_SHOWN, "start-up", "export", "update"], 0.0)
    for line in stacks.splitlines():
        stack, count = line.rsplit(" ", 1)
        thread, *frames = stack.split(";")
        if "MainThread" in thread:
            layer = _layer(frames)
            seconds[layer] = seconds.get(layer, 0.0) + int(count) / _RATE
    return seconds


def _layer(frames: list[str]) -> str:
    for name, pattern in _LAYERS:
        if any(re.search(pattern, frame) for frame in frames):
            return name
    return "start-up"


def _draw(rows: list[dict[str, str]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 0.7 * len(rows) + 1.6), layout="constrained")
    left = [0.0] * len(rows)
    labels = [row["label"] for row in rows]
    for name in _SHOWN:
        shares = [100 * float(row[name]) for row in rows]
        bars = axes.barh(labels, shares, left=left, label=name)
        axes.bar_label(
            bars, [f"{share:.0f}" if share >= 3 else "" for share in shares], label_type="center"
        )
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("Share of the learner's time, %")
    axes.set_xlim(0, 100)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(_HERE / "profile.png", dpi=120)


if __name__ == "__main__":
    app.run(main)
