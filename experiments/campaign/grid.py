"""Runs a list of trainings, some at once, and writes results as they come; resumable."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich.progress

from experiments.campaign.process import REPEATABLE, run_process
from experiments.campaign.revision import CODE, code_revision

# Rows by the name of the file that they belong to.
Tables = Mapping[str, Sequence[Mapping[str, Any]]]


class Job(NamedTuple):
    """One run.

    Attributes:
        key: what tells it from the others, the first columns of its results.
        arguments: of `one_run.run`.
    """

    key: dict[str, Any]
    arguments: dict[str, Any]


def run_all(jobs: Sequence[Job], directory: Path, at_once: int = 2) -> None:
    """Trains by `one_run` what `results.csv` does not hold yet.

    Each run adds one row, and some to `curves.csv`. One thread of TensorFlow a run: the same bits
    however many run at once.

    Args:
        jobs: in the order of their importance.
        directory: where the two files are.
        at_once: runs side by side.
    """
    run_jobs(jobs, _train, directory, "results.csv", at_once)


def run_jobs(
    jobs: Sequence[Job],
    run: Callable[[Job], Tables],
    directory: Path,
    results: str,
    at_once: int,
    code: Sequence[str] = CODE,
    anew: bool = False,
) -> None:
    """Runs what the results do not hold yet, shows how many are left, and adds rows as they come.

    A run that fails keeps no other from running. Ctrl-C and SIGTERM begin no more; Ctrl-C on a
    terminal also reaches the runs that are under way, SIGTERM lets them end.

    Args:
        jobs: in the order of their importance.
        run: gives a run's rows, without its key, one of them in `results`.
        directory: where the files are.
        results: the file with one row a run, by whose keys runs count as done.
        at_once: runs side by side.
        code: what must not change meanwhile, and gives the runs their revision.
        anew: whether runs of another revision count for nothing.

    Raises:
        RuntimeError: the first run that failed, after all have ended.
    """
    # This process has imported its code; what it starts later imports what is there then.
    revision = code_revision(code)
    done = _finished(directory / results, list(jobs[0].key), revision if anew else None)
    waiting = [job for job in jobs if _values(job.key) not in done]
    lock = threading.Lock()
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def run_one(job: Job) -> None:
        _refuse_other_code(revision, code)
        tables = run(job)
        _refuse_other_code(revision, code)
        (result,) = tables[results]
        with lock:
            for name, rows in tables.items():
                if name != results:
                    append(directory / name, [{**job.key, **row} for row in rows])
            append(directory / results, [{**job.key, **result, "revision": revision}])
            progress.advance(bar)
            left = progress.tasks[bar].remaining
            show(f"{left:.0f} of {len(jobs)} runs left; { ({**job.key, **result}) }")

    def show(line: str) -> None:
        progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    with (
        rich.progress.Progress() as progress,
        concurrent.futures.ThreadPoolExecutor(at_once) as pool,
    ):
        bar = progress.add_task("runs", total=len(jobs), completed=len(jobs) - len(waiting))
        show(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done.")
        futures = [pool.submit(run_one, job) for job in waiting]
        try:
            concurrent.futures.wait(futures)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            sys.exit("Stopped; the same command goes on.")
        for future in futures:
            future.result()


def _train(job: Job) -> Tables:
    settings = {**REPEATABLE, **job.arguments["settings"]}
    arguments = json.dumps({**job.arguments, "settings": settings})
    printed = run_process([sys.executable, "-m", "experiments.campaign.one_run", arguments])
    result = json.loads(printed.splitlines()[-1])
    curve = [{"end": end, "episode_return": value} for end, value in result.pop("curve")]
    return {"curves.csv": curve, "results.csv": [result]}


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _finished(path: Path, key: list[str], revision: str | None) -> set[tuple[str, ...]]:
    """Keys of the rows, of one revision or of all."""
    rows = [row for row in read(path) if revision in (None, row["revision"])]
    return {tuple(row[name] for name in key) for row in rows}


def _values(key: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in key.values())


def _refuse_other_code(revision: str, code: Sequence[str]) -> None:
    if code_revision(code) != revision:
        raise RuntimeError(
            f"The code is not that of {revision or 'the start'} any more, so the run counts for "
            "neither. Start the command again."
        )


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to a CSV file, with a header if it is new; floats with six digits.

    Raises:
        ValueError: the file has other columns.
    """
    is_new = not path.exists()
    if not is_new:
        with path.open(newline="") as file:
            columns = next(csv.reader(file), [])
        if columns != list(rows[0]):
            raise ValueError(f"{path} has the columns {columns}, the new rows {list(rows[0])}.")
    shown = [
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(shown)
