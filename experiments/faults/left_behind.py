"""What a run directory and its exports hold, seen from outside and changing nothing."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.faults.outcome import Outcome
from trpo_tf import checkpoint
from trpo_tf.atomic_files import TEMPORARY_PREFIX
from trpo_tf.loaded_policy import load_policy


class Picture(NamedTuple):
    """A run directory at one moment.

    Attributes:
        rows: the whole lines of progress.csv behind its header.
        updates: the number that each begins with.
        step: of the newest whole checkpoint; −1: none.
        exports: SavedModels with a number, of the best policy and of the model's directory.
    """

    rows: list[str]
    updates: list[int]
    step: int
    exports: list[Path]


def look(logdir: Path, export_dir: Path, outcome: Outcome) -> Picture:
    """Looks at everything and books what must never be there.

    Damaged checkpoints (nothing here damages any), rows twice, gaps in the rows, and exports that
    have a number and do not load.
    """
    rows = whole_rows(logdir / "progress.csv")
    updates = [int(row.split(",")[0]) for row in rows]
    outcome.book("doubled", f"updates {updates}", len(updates) - len(set(updates)))
    gapless = list(range(1, len(updates) + 1))
    outcome.require(len(set(updates)) < len(updates) or updates == gapless, "wrong", f"{updates}")
    exports = []
    for base in (logdir / "best_policy", export_dir):
        for path in sorted(base.iterdir()) if base.is_dir() else []:
            if path.name in temporaries(base):
                continue
            exports.append(path)
            fault = _export_fault(path)
            outcome.require(fault is None, "wrong", f"{path}: {fault}")
    return Picture(rows, updates, _whole_step(logdir / "checkpoints", outcome), exports)


def whole_rows(path: Path) -> list[str]:
    """Lines of a progress file that end; the header is left out."""
    content = path.read_text() if path.exists() else ""
    return content.split("\n")[1:-1]


def same_beginning(one: list[str], other: list[str]) -> int:
    """How many lines two files have in common before they part.

    >>> same_beginning(["a", "b", "c"], ["a", "b", "x", "y"])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _whole_step(folder: Path, outcome: Outcome) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = checkpoint.latest_checkpoint(folder)
        except ValueError as error:
            outcome.book("wrong", str(error))
            return -1
    for warning in caught:
        outcome.book("wrong", str(warning.message))
    return -1 if found is None else found.step


def _export_fault(path: Path) -> str | None:
    """Why a version cannot be served; None if it can."""
    if not path.name.isdecimal():
        return "is no version"
    try:
        policy = load_policy(path)
        space = policy.observation_space
        actions = policy(np.zeros((3, *space.shape), space.dtype))
    except (ValueError, OSError, tf.errors.OpError) as error:
        return str(error)
    return None if len(actions) == 3 else f"gives actions {actions}"


def temporaries(folder: Path) -> set[str]:
    """What is being written in a folder at this moment, or was when its writer was killed."""
    try:
        return {name for name in os.listdir(folder) if name.startswith(TEMPORARY_PREFIX)}
    except FileNotFoundError:
        return set()
