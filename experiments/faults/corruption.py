"""Checkpoints damaged on the disk, one file at a time, all of them at once, or gone."""

from __future__ import annotations

import csv
import hashlib
import random
import shutil
import signal
from pathlib import Path

from experiments.faults import left_behind
from experiments.faults.damage import FILES, HOWS, damage
from experiments.faults.outcome import Outcome
from experiments.faults.training import SMALL, Ended, Training, train

_PROGRESS = "progress.csv"
_GONE = ("directory gone", "steps gone")
CASES = (
    *(f"{name} {how}" for name in FILES for how in HOWS),
    *(f"all {how}" for how in HOWS),
    *(f"{_PROGRESS} {how}" for how in HOWS),
    *_GONE,
)
_SETTINGS = {
    **SMALL,
    "env": "CartPole-v1",
    "logdir": "run",
    "export_dir": "model",
    "total_steps": 1_000_000,
}


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """Damages a copy of one run and resumes it."""
    places, outcome = random.Random(f"{seed} {case} {number}"), Outcome()
    template, directory = runs / "corruption" / "template", runs / "corruption" / "trial"
    if not template.exists():
        _make_template(template)
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template, directory)
    before = left_behind.look(directory / "run", directory / "model", outcome)
    checkpoints = sorted((directory / "run" / "checkpoints").iterdir())
    held = sorted(path.name for path in checkpoints[-1].iterdir())
    outcome.require(held == list(FILES), "wrong", f"the newest checkpoint holds {held}")
    name, how = case.rsplit(" ", 1)
    if case in _GONE:
        for path in checkpoints if name == "steps" else [directory / "run" / "checkpoints"]:
            shutil.rmtree(path)
        _check_refusal(directory, "checkpoints of run are gone", outcome)
    elif name == "all":
        for path in checkpoints:
            damage(path / places.choice(FILES), how, places)
        _check_refusal(directory, "No checkpoint in run/checkpoints is whole", outcome)
    elif name == _PROGRESS:
        damage(directory / "run" / name, how, places)
        check_missed(directory, int(checkpoints[-1].name), outcome)
    else:
        damage(checkpoints[-1] / name, how, places)
        _check_fall_back(directory, before, int(checkpoints[-2].name), outcome)
    return outcome


def stop_after_rows(
    directory: Path, settings: dict[str, object], rows: int, outcome: Outcome
) -> Ended:
    """Trains until progress.csv has so many rows, then sends SIGTERM, which saves first."""
    training = Training(directory, settings, outcome)
    path = directory / str(settings["logdir"]) / "progress.csv"
    training.wait_until(lambda: len(left_behind.whole_rows(path)) >= rows)
    training.signal(signal.SIGTERM)
    return training.wait()


def require_stopped(ended: Ended, outcome: Outcome) -> None:
    """Books an end that is not that of SIGTERM."""
    is_stopped = ended.status == 128 + signal.SIGTERM
    outcome.require(is_stopped, "violations", f"ended with {ended.status}: {ended.err[-300:]}")


def _make_template(template: Path) -> None:
    making = template.with_name("making")
    shutil.rmtree(making, ignore_errors=True)
    outcome = Outcome()
    ended = stop_after_rows(making, _SETTINGS, 7, outcome)
    require_stopped(ended, outcome)
    if outcome.found:
        raise RuntimeError(f"the run to be damaged: {outcome.found}: {ended.err[-3000:]}")
    making.rename(template)


def _check_fall_back(
    directory: Path, before: left_behind.Picture, step: int, outcome: Outcome
) -> None:
    """Resumed, it must go on from the second newest checkpoint, with one warning."""
    resumed = {"logdir": "run", "export_dir": "model", "resume": True}
    # Rows behind the fallen-back checkpoint are made anew; the file has them until it is cut.
    training = Training(directory, resumed, outcome)
    progress = directory / "run" / "progress.csv"

    def is_under_way() -> bool:
        rows = left_behind.whole_rows(progress)
        return len(rows) > step and rows[step:] != before.rows[step:]

    training.wait_until(is_under_way)
    training.signal(signal.SIGTERM)
    ended = training.wait()
    require_stopped(ended, outcome)
    outcome.message = " | ".join(ended.errors)
    warned = [line for line in ended.errors if "Passed over damaged checkpoints" in line]
    outcome.require(
        len(ended.errors) == len(warned) == 1 and f"Falling back to {step:09d}." in warned[0],
        "violations",
        f"said {ended.errors}",
    )
    after = left_behind.look(directory / "run", directory / "model", outcome)
    kept = left_behind.same_beginning(before.rows, after.rows)
    if kept == 0:
        outcome.book("silent_restarts", "no row was kept")
    outcome.require(kept == step, "lost", f"{kept} rows were kept of {step}")
    outcome.require(after.step > step, "lost", f"the newest checkpoint is {after.step}")


def check_missed(directory: Path, step: int, outcome: Outcome) -> None:
    """Resumed, it must say which rows are missing, keep all others, and lose no update."""
    table, aside = directory / "run" / _PROGRESS, directory / "run" / f"damaged-{_PROGRESS}"
    damaged = table.read_bytes() if table.exists() else None
    resumed = {"logdir": "run", "export_dir": "model", "resume": True}
    training = Training(directory, resumed, outcome)
    training.wait_until(lambda: _last_update(table) > step)
    training.signal(signal.SIGTERM)
    ended = training.wait()
    outcome.message = " | ".join(ended.errors)
    if ended.status == 1 and damaged is not None and "is no progress file" in ended.err:
        # Not even the names of the columns are left: for a person to decide.
        outcome.require(table.read_bytes() == damaged, "lost", f"{table} was touched")
        outcome.require(len(ended.errors) == 1, "violations", f"said {ended.errors}")
        return
    require_stopped(ended, outcome)
    rows = _read_rows(table.read_bytes())
    updates = [int(row[0]) for row in rows]
    outcome.book("doubled", f"updates {updates}", len(updates) - len(set(updates)))
    kept = [row for row in rows if int(row[0]) <= step]
    good = _good_rows(damaged or b"", step)
    outcome.require(kept == good, "wrong", f"rows {kept} were kept of {good}")
    missing = step - len(good)
    said = [line for line in ended.errors if f"lacks {missing} of its {step} rows" in line]
    outcome.require(len(said) == int(missing > 0), "violations", f"said {ended.errors}")
    if missing and damaged is not None:
        outcome.require(
            aside.exists() and aside.read_bytes() == damaged,
            "lost",
            f"{aside} is not what was there",
        )


def _read_rows(content: bytes) -> list[list[str]]:
    """Rows behind the header that are text, end, and have a number and a cell for each column."""
    header, *lines = content.split(b"\n")[:-1] or [b""]
    found = []
    for line in lines:
        try:
            (row,) = csv.reader([line.decode()])
            float(row[0])
        except (ValueError, IndexError, csv.Error):
            continue
        if len(row) == len(header.split(b",")):
            found.append(row)
    return found


def _good_rows(content: bytes, step: int) -> list[list[str]]:
    """Of a damaged table, by their numbers: what no unequal row claims to be too."""
    rows, good = _read_rows(content), []
    for update in range(1, step + 1):
        claiming = [row for row in rows if float(row[0]) == update]
        if claiming and all(row == claiming[0] for row in claiming):
            good.append(claiming[0])
    return good


def _last_update(table: Path) -> int:
    rows = left_behind.whole_rows(table)
    text = rows[-1].split(",")[0] if rows else ""
    return int(text) if text.isdecimal() else -1


def _check_refusal(directory: Path, words: str, outcome: Outcome) -> None:
    """Nothing whole is left: an error in one line, and nothing is touched."""
    before = _contents(directory / "run")
    # A run that began anew would have an end, and a status that is not 1.
    resumed = {"logdir": "run", "export_dir": "model", "resume": True, "total_steps": 10_000}
    ended = train(directory, resumed, outcome)
    outcome.message = " | ".join(ended.errors)
    outcome.require(ended.status == 1, "violations", f"ended with {ended.status}")
    is_clear = len(ended.errors) == 1 and words in ended.err
    outcome.require(is_clear, "violations", f"said {ended.errors}")
    if _contents(directory / "run") != before:
        outcome.book("silent_restarts", "the run directory has changed")


def _contents(folder: Path) -> dict[str, str]:
    """What is there by name: the hash of each file, and nothing of a directory."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }
