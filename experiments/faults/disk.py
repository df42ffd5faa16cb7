"""Disks that are full, files that may not grow, and directories that cannot be written.

A small tmpfs is mounted where that is allowed (as root, on Linux); without, the cases that need it
are left out and a limit on the size of files stands for the full disk.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.faults import left_behind
from experiments.faults.corruption import require_stopped, stop_after_rows
from experiments.faults.left_behind import Picture
from experiments.faults.outcome import Outcome
from experiments.faults.training import SMALL, Ended, Training, train

_TOTAL = SMALL["num_envs"] * SMALL["num_steps"] * 6
_SETTINGS: dict[str, Any] = {**SMALL, "env": "CartPole-v1"}
_PLACES: dict[str, Any] = {"logdir": "disk/run", "export_dir": "model"}
_LONG: dict[str, Any] = {**_SETTINGS, **_PLACES, "total_steps": 1_000_000}
_RESUME: dict[str, Any] = {**_PLACES, "resume": True}
_DISK_BYTES = 24_000_000
# Names of files and directories as messages have them, whole; temporary ones carry a random part.
_CHECKPOINT = r"disk/run/checkpoints/\.tmp-\d{9}-\w+(/[\w.-]+)?"
_TENSORBOARD = r"disk/run/tensorboard/events\.out\.tfevents\.\d+"
_RUN_FILE = rf"(disk/run/progress\.csv|{_TENSORBOARD}|{_CHECKPOINT})"
_EXPORT = r"disk/model/\.tmp-1-\w+(/[\w./-]+)?"
# Files of at most so many bytes: TensorBoard's grows beyond the first within a few updates; beyond
# the second go at first the variables of wide networks, and TensorBoard's only after many updates.
_SMALL_FILES, _WIDER, _LARGER_FILES = 6000, {"hidden_sizes": "64,64"}, 50_000
# From the moment at which nothing more can be written, on a busy machine.
_AT_ONCE_SECONDS = 20.0


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """Runs one case in a directory of its own."""
    directory, outcome = (runs / "disk" / case.replace(" ", "-")).absolute(), Outcome()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    CASES[case](directory, outcome)
    shutil.rmtree(directory)
    return outcome


def may_mount() -> bool:
    """Whether file systems can be mounted here."""
    place = Path("/tmp") / f"mount-{os.getpid()}"
    place.mkdir()
    try:
        with disk(place):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        place.rmdir()


@contextlib.contextmanager
def disk(place: Path) -> Iterator[None]:
    """A small disk at an existing directory; unmounted at the end, whatever is open there."""
    _mount("-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """A directory that cannot be written until the end."""
    _mount("--bind", place, place)
    try:
        _mount("-o", "remount,bind,ro", place)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    """A disk without a free byte until the end."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        piece = bytes(65536)
        while piece:
            try:
                file.write(piece)
            except OSError:
                piece = piece[: len(piece) // 2]
    try:
        yield
    finally:
        ballast.unlink()


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def _full_while_training(directory: Path, outcome: Outcome) -> None:
    with _disk_in(directory) as place:
        _broken_while_training(directory, lambda: full(place), _RUN_FILE, outcome)


def _read_only_checkpoints(directory: Path, outcome: Outcome) -> None:
    (directory / "disk").mkdir()
    checkpoints = directory / "disk" / "run" / "checkpoints"
    _broken_while_training(directory, lambda: read_only(checkpoints), _CHECKPOINT, outcome)


def _broken_while_training(
    directory: Path,
    broken: Callable[[], contextlib.AbstractContextManager[None]],
    path: str,
    outcome: Outcome,
) -> None:
    """Breaks what a run writes to, sees it end, mends it and resumes the run."""
    training = Training(directory, _LONG, outcome)
    progress = directory / "disk/run/progress.csv"
    training.wait_until(lambda: len(left_behind.whole_rows(progress)) >= 3)
    with broken():
        began = time.monotonic()
        ended = training.wait(_AT_ONCE_SECONDS)
        require_error(ended, path, outcome, time.monotonic() - began)
        found = _look(directory, outcome)
    unsaved = len(found.rows) - found.step
    outcome.require(0 <= unsaved <= SMALL["checkpoint_every"], "lost", f"{unsaved} unsaved")
    _require_going_on(directory, found, outcome)


def _size_limit(
    settings: dict[str, Any], most_bytes: int, path: str, directory: Path, outcome: Outcome
) -> None:
    (directory / "disk").mkdir()
    require_stopped(stop_after_rows(directory, {**_LONG, **settings}, 3, outcome), outcome)
    before = _look(directory, outcome)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    ended = train(directory, _RESUME, outcome, limit)
    require_error(ended, path, outcome)
    found = _look(directory, outcome)
    outcome.require(found.step >= before.step, "lost", f"{before.step} became {found.step}")
    _require_going_on(directory, found, outcome)


def _full_at_export(directory: Path, outcome: Outcome) -> None:
    places = {"logdir": "run", "export_dir": "disk/model"}
    with _disk_in(directory) as place:
        with full(place):
            ended = train(directory, {**_SETTINGS, **places, "total_steps": _TOTAL}, outcome)
            require_error(ended, _EXPORT, outcome)
            left_behind.look(directory / "run", place / "model", outcome)
        ended = train(directory, {**places, "resume": True}, outcome)
        outcome.require(ended.status == 0, "violations", f"then {ended.status}: {ended.err[-300:]}")
        found = left_behind.look(directory / "run", place / "model", outcome)
        outcome.require([path.name for path in found.exports] == ["1"], "lost", f"{found.exports}")
        left_behind.check_export(directory / "run", place / "model", outcome)


def _full_at_start(directory: Path, outcome: Outcome) -> None:
    with _disk_in(directory) as place, full(place):
        require_error(train(directory, _LONG, outcome), "disk/run", outcome)


def _read_only_new(directory: Path, outcome: Outcome) -> None:
    (directory / "disk").mkdir()
    with read_only(directory / "disk"):
        require_error(train(directory, _LONG, outcome), "disk/run", outcome)


def _read_only_resume(directory: Path, outcome: Outcome) -> None:
    (directory / "disk").mkdir()
    require_stopped(stop_after_rows(directory, _LONG, 3, outcome), outcome)
    with read_only(directory / "disk"):
        require_error(train(directory, _RESUME, outcome), r"disk/run/\.lock", outcome)
        found = _look(directory, outcome)
    _require_going_on(directory, found, outcome)


def _read_only_export(directory: Path, outcome: Outcome) -> None:
    (directory / "disk").mkdir()
    places = {"logdir": "run", "export_dir": "disk/model"}
    with read_only(directory / "disk"):
        ended = train(directory, {**_SETTINGS, **places, "total_steps": _TOTAL}, outcome)
        require_error(ended, "disk/model", outcome)
    outcome.require(not (directory / "run").exists(), "violations", "it had trained before")


_MOUNTED: dict[str, Callable[[Path, Outcome], None]] = {
    "full while training": _full_while_training,
    "full at the export": _full_at_export,
    "full at the start": _full_at_start,
    "read-only checkpoints": _read_only_checkpoints,
    "read-only on resuming": _read_only_resume,
    "read-only at the start": _read_only_new,
    "read-only export": _read_only_export,
}
CASES: dict[str, Callable[[Path, Outcome], None]] = {
    "file size limit": functools.partial(_size_limit, {}, _SMALL_FILES, _TENSORBOARD),
    "file size limit, checkpoint": functools.partial(
        _size_limit, _WIDER, _LARGER_FILES, _CHECKPOINT
    ),
    **_MOUNTED,
}


def possible_cases() -> list[str]:
    """Those that this machine allows."""
    return list(CASES) if may_mount() else [name for name in CASES if name not in _MOUNTED]


@contextlib.contextmanager
def _disk_in(directory: Path) -> Iterator[Path]:
    place = directory / "disk"
    place.mkdir()
    with disk(place):
        yield place


def require_error(ended: Ended, path: str, outcome: Outcome, seconds: float | None = None) -> None:
    """Books an end that is not one line with a path, by its whole name, and status 1.

    Args:
        ended: the training.
        path: a pattern of the path as the run was given it.
        outcome: where it is booked.
        seconds: that the end took, for the note.
    """
    outcome.message = " | ".join(ended.errors)
    outcome.note += "" if seconds is None else f"after {seconds:.1f} s; "
    outcome.require(ended.status == 1, "violations", f"ended with {ended.status}")
    # Neither a part of a longer name nor the directory above the one that is meant.
    names = re.search(rf"(?<![\w/.-]){path}(?![\w/-])", ended.err)
    is_clear = len(ended.errors) == 1 and names is not None
    outcome.require(is_clear, "violations", f"said {ended.errors}")


def _require_going_on(directory: Path, before: Picture, outcome: Outcome) -> None:
    ended = stop_after_rows(directory, _RESUME, len(before.rows) + 1, outcome)
    require_stopped(ended, outcome)
    outcome.require(not ended.errors, "violations", f"then said {ended.errors}")
    after = _look(directory, outcome)
    kept = left_behind.same_beginning(before.rows, after.rows)
    outcome.require(kept >= before.step, "lost", f"{kept} rows were kept of {before.step}")
    outcome.require(after.step > before.step, "lost", f"the newest checkpoint is {after.step}")


def _look(directory: Path, outcome: Outcome) -> Picture:
    return left_behind.look(directory / "disk/run", directory / "model", outcome)
