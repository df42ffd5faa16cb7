"""What a run directory and its exports hold, seen from outside and changing nothing."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.faults.outcome import Outcome
from trpo_tf import checkpoint
from trpo_tf.atomic_files import TEMPORARY_PREFIX
from trpo_tf.distribution_parameters import named_parameters
from trpo_tf.loaded_policy import load_policy
from trpo_tf.run_directory import load_run


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

    Damaged checkpoints (nothing here damages any), numbers in one that are not finite, rows twice,
    gaps in the rows, and exports that have a number and do not load or answer.
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
    # A damaged table may hold bytes that are no text.
    content = path.read_text(errors="surrogateescape") if path.exists() else ""
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
    if found is None:
        return -1
    values = saved_variables(found.path)
    bad = [name for name, value in sorted(values.items()) if not np.all(np.isfinite(value))]
    outcome.book("wrong", f"checkpoint {found.step}: {bad[:3]} are not finite", len(bad))
    return found.step


def saved_variables(path: Path) -> dict[str, np.ndarray]:
    """The numbers of a whole checkpoint by name, read by nothing of ours."""
    reader = tf.train.load_checkpoint(str(path / "variables"))
    kinds = reader.get_variable_to_dtype_map()
    return {name: reader.get_tensor(name) for name, kind in kinds.items() if kind is not tf.string}


def check_export(logdir: Path, export_dir: Path, outcome: Outcome) -> None:
    """Of a finished run: its newest export answers as the policy of its last checkpoint does."""
    versions = [path for path in export_dir.glob("*") if path.name.isdecimal()]
    if not versions:
        outcome.book("lost", f"{export_dir} has no export")
        return
    outcome.book("doubled", f"{export_dir} has {len(versions)} exports", len(versions) - 1)
    newest = max(versions, key=lambda path: int(path.name))
    loaded, run = load_policy(newest), load_run(logdir)
    observations = _observations(loaded.observation_space, 256)
    answers = loaded.distribution(observations)
    expected = named_parameters(run.policy(observations), len(observations))
    values = run.value_function(observations)
    for name, answer, known in (
        *((name, answers[name], expected[name]) for name in sorted(expected)),
        ("value", loaded.value(observations), values),
    ):
        is_alike = np.allclose(answer, known, rtol=1e-4, atol=1e-4)
        outcome.require(is_alike, "wrong", f"{newest}: {name} is not the last checkpoint's")


def _observations(space: Any, count: int) -> np.ndarray:
    """Some of a space of plain arrays, of the size that environments give."""
    draws = np.random.default_rng(0).normal(size=(count, *space.shape))
    return np.clip(draws, space.low, space.high).astype(space.dtype)


def _export_fault(path: Path) -> str | None:
    """Why a version cannot be served; None if it can."""
    if not path.name.isdecimal():
        return "is no version"
    try:
        policy = load_policy(path)
        actions = policy(_observations(policy.observation_space, 3))
    except (ValueError, OSError, tf.errors.OpError) as error:
        return str(error)
    is_sound = len(actions) == 3 and bool(np.all(np.isfinite(actions)))
    return None if is_sound else f"gives actions {actions}"


def temporaries(folder: Path) -> set[str]:
    """What is being written in a folder at this moment, or was when its writer was killed."""
    try:
        return {name for name in os.listdir(folder) if name.startswith(TEMPORARY_PREFIX)}
    except FileNotFoundError:
        return set()
