"""SIGKILL of a training at random moments, as chains: what is resumed is killed again.

A chain is a run that is killed and resumed until it has made all its steps and its export; then
the next run begins. Half of the moments lie inside the writing of a checkpoint, of the best policy
or of the final export (a temporary name is there), the others anywhere in the life of the process.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults import left_behind, processes
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
}
# How long the children of a killed process may take to notice.
_ORPHAN_SECONDS = 60.0


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


class Struck(NamedTuple):
    """What there was of a process when it was killed.

    Attributes:
        started: the processes that it had started.
        errors: lines that it had written; later ones are those of its orphaned children.
    """

    started: set[int]
    errors: list[str]


_KINDS = {"start": 1, "rows": 4, "checkpoint": 4, "best": 2, "export": 1}
_DELAYS = {"start": 10.0, "rows": 0.3, "checkpoint": 0.01, "best": 1.0, "export": 6.0}


def draw_moment(moments: random.Random, updates_left: int) -> Moment:
    """One of the moments, for a life that has so many updates before it."""
    (kind,) = moments.choices(list(_KINDS), list(_KINDS.values()))
    rows = 0 if kind in ("start", "export") else moments.randint(0, max(updates_left - 1, 0))
    return Moment(kind, rows, moments.uniform(0, _DELAYS[kind]))


def strike(training: Training, moment: Moment, logdir: Path, export_dir: Path) -> Struck | None:
    """Kills the process at its moment; None if it ended before that came."""
    progress = logdir / "progress.csv"
    before = len(left_behind.whole_rows(progress))
    if moment.kind != "start":
        # Rows behind the last checkpoint are cut first, so the file may shrink before it grows.
        enough = before + moment.rows
        if not training.wait_until(lambda: len(left_behind.whole_rows(progress)) >= enough):
            return None
    started = processes.descendants(training.process.pid)
    folders = {
        "checkpoint": logdir / "checkpoints",
        "best": logdir / "best_policy",
        "export": export_dir,
    }
    if moment.kind in folders:
        old = left_behind.temporaries(folders[moment.kind])
        if not training.wait_until(
            lambda: bool(left_behind.temporaries(folders[moment.kind]) - old), pause=0.0005
        ):
            return None
    time.sleep(moment.delay)
    if not training.is_running:
        return None
    if moment.kind != "checkpoint":
        started |= processes.descendants(training.process.pid)
    errors = training.errors_so_far()
    training.signal(signal.SIGKILL)
    return Struck(started, errors)


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
    before = left_behind.look(logdir, export_dir, outcome)
    moment = draw_moment(moments, UPDATES - len(before.rows))
    training = Training(directory, life_settings(logdir, settings))
    struck = strike(training, moment, logdir, export_dir)
    ended = training.wait()
    if struck is None:
        outcome.require(ended.status == 0, "violations", f"ended with {ended.status}")
        struck = Struck(set(), ended.errors)
    else:
        outcome.note += f"{moment.kind} {ended.seconds:.1f} s; "
    outcome.book("violations", f"said {struck.errors}", len(struck.errors))
    orphans = processes.wait_for_end(struck.started, _ORPHAN_SECONDS)
    outcome.book("orphans", f"{orphans}", len(orphans))
    after = left_behind.look(logdir, export_dir, outcome)
    compare(before, after, SMALL["checkpoint_every"], outcome)
    outcome.note += f"{before.step} -> {after.step} of {len(after.rows)}; "
    return ended.status == -signal.SIGKILL


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
