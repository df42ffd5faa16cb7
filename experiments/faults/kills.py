"""SIGKILL of a training at random moments, as chains: what is resumed is killed again.

A chain is a run that is killed and resumed until it has made all its steps and its export; then the
next run begins. Three fifths of the moments are meant for the writing of a checkpoint, of the best
policy or of the final export, the others lie anywhere in the life of the process. A kill counts as
inside a write if it left a new temporary behind, whatever its moment was meant to be.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults import left_behind, restored
from experiments.faults.left_behind import Picture
from experiments.faults.outcome import Outcome
from experiments.faults.training import SMALL, Training

UPDATES = 24
_EVALUATED = {"eval_every": 192, "eval_episodes": 1}
_PROCESSES = {"sampler": "async", "vectorization": "async"}
CASES: dict[str, dict[str, Any]] = {
    "CartPole": {"env": "CartPole-v1"},
    "InvertedPendulum": {"env": "InvertedPendulum-v5"},
    "CartPole, async": {"env": "CartPole-v1", **_PROCESSES},
    "InvertedPendulum, EnvPool": {
        "env": "InvertedPendulum-v5",
        "vectorization": "envpool",
        "execution": "graph",
    },
}


class Moment(NamedTuple):
    """When a process is killed.

    Attributes:
        kind: "start" counts from the start of the process, "rows" from a row of progress.csv;
            "checkpoint", "best" and "export" wait besides until that is being written.
        rows: that must have been added before.
        delay: seconds after that.
    """

    kind: str
    rows: int
    delay: float


_KINDS = {"start": 1, "rows": 4, "checkpoint": 4, "best": 2, "export": 2}
_DELAYS = {"start": 10.0, "rows": 0.3, "checkpoint": 0.01, "best": 1.0, "export": 6.0}


def draw_moment(moments: random.Random, updates_left: int) -> Moment:
    """One of the moments, for a life that has so many updates before it."""
    (kind,) = moments.choices(list(_KINDS), list(_KINDS.values()))
    # No row more would be a moment of the imports, which "start" is there for.
    fewest = int(kind == "rows")
    most = max(updates_left - 1, fewest)
    rows = 0 if kind in ("start", "export") else moments.randint(fewest, most)
    return Moment(kind, rows, moments.uniform(0, _DELAYS[kind]))


def strike(training: Training, moment: Moment, logdir: Path, export_dir: Path) -> list[str] | None:
    """Kills the process at its moment.

    Returns:
        The lines that it had written by then, without those of its orphaned children; None if it
        ended before its moment came.
    """
    progress = logdir / "progress.csv"
    before = len(left_behind.whole_rows(progress))
    if moment.kind != "start":
        # Rows behind the last checkpoint are cut first, so the file may shrink before it grows.
        enough = before + moment.rows
        if not training.wait_until(lambda: len(left_behind.whole_rows(progress)) >= enough):
            return None
    folders = _written_folders(logdir, export_dir)
    if moment.kind in folders:
        old = left_behind.temporaries(folders[moment.kind])
        if not training.wait_until(
            lambda: bool(left_behind.temporaries(folders[moment.kind]) - old), pause=0.0005
        ):
            return None
    time.sleep(moment.delay)
    if not training.is_running:
        return None
    errors = training.errors_so_far()
    training.signal(signal.SIGKILL)
    return errors


def _written_folders(logdir: Path, export_dir: Path) -> dict[str, Path]:
    return {
        "checkpoint": logdir / "checkpoints",
        "best": logdir / "best_policy",
        "export": export_dir,
    }


def _temporaries(logdir: Path, export_dir: Path) -> set[Path]:
    """All that is being written, or was when its writer was killed."""
    return {
        folder / name
        for folder in _written_folders(logdir, export_dir).values()
        for name in left_behind.temporaries(folder)
    }


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """Goes on with the chain of a case until one process has been killed."""
    moments, outcome = random.Random(f"{seed} {case} {number}"), Outcome()
    while True:
        directory = runs / "kills" / case.replace(", ", "-")
        if _live(directory, CASES[case], moments, outcome) or outcome.found:
            return outcome
        shutil.rmtree(directory)


def _live(
    directory: Path, settings: dict[str, Any], moments: random.Random, outcome: Outcome
) -> bool:
    """One life of a run, checked; whether it was killed."""
    logdir, export_dir = directory / "run", directory / "model"
    before, old = left_behind.look(logdir, export_dir, outcome), _temporaries(logdir, export_dir)
    moment = draw_moment(moments, UPDATES - len(before.rows))
    training = Training(directory, life_settings(logdir, settings), outcome)
    errors = strike(training, moment, logdir, export_dir)
    ended = training.wait()
    is_killed = ended.status == -signal.SIGKILL
    if errors is None or not is_killed:
        outcome.require(ended.status == 0, "violations", f"ended with {ended.status}")
        errors = ended.errors
        if ended.status == 0:
            left_behind.check_export(logdir, export_dir, outcome)
    else:
        is_inside = bool(_temporaries(logdir, export_dir) - old)
        outcome.inside_writes += int(is_inside)
        where = f"{moment.kind}{', inside a write' if is_inside else ''}"
        outcome.note += f"{where} {ended.seconds:.1f} s; "
    outcome.book("violations", f"said {errors}", len(errors))
    after = left_behind.look(logdir, export_dir, outcome)
    # At a normal end all is saved.
    compare(before, after, SMALL["checkpoint_every"] if is_killed else 0, outcome)
    if after.step >= 0:
        restored.check(logdir, outcome)
    outcome.note += f"{before.step} -> {after.step} of {len(after.rows)}; "
    return is_killed


def life_settings(logdir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Of the command that begins a run, or resumes the one that is there."""
    places = {"logdir": "run", "export_dir": "model"}
    if (logdir / "config.json").exists():
        return {**places, "resume": True}
    total = SMALL["num_envs"] * SMALL["num_steps"] * UPDATES
    # The rows of resets are no steps, hence an update more or less.
    return {**SMALL, **settings, **places, **_EVALUATED, "total_steps": total}


def compare(before: Picture, after: Picture, save_interval: int, outcome: Outcome) -> None:
    """Books what a life lost of what the one before it had saved, and what it left unsaved."""
    outcome.require(
        after.step >= before.step, "lost", f"checkpoint {before.step} became {after.step}"
    )
    if after.rows != before.rows:
        kept = left_behind.same_beginning(before.rows, after.rows)
        saved = max(before.step, 0)
        if kept == 0 and saved > 0:
            outcome.book("silent_restarts", f"checkpoint {saved} was there")
        else:
            outcome.book("lost", f"rows {kept + 1} to {saved}", max(0, saved - kept))
    unsaved = len(after.rows) - max(after.step, 0)
    outcome.book("lost", f"{unsaved} updates unsaved", max(0, unsaved - save_interval))
    outcome.book("wrong", f"checkpoint {after.step}, {len(after.rows)} rows", max(0, -unsaved))
