"""Runs a list of trainings, some at once, and writes results as they come; resumable."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trpo_tf import provenance

_ROOT = Path(__file__).parents[2]


class Job(NamedTuple):
    """One run.

    Attributes:
        key: what tells it from the others, the first columns of its results.
        arguments: of `one_run.run`.
    """

    key: dict[str, Any]
    arguments: dict[str, Any]


def run_all(jobs: Sequence[Job], directory: Path, at_once: int = 2) -> None:
    """Runs what `results.csv` does not hold yet; each run adds one row, and some to `curves.csv`.

    One thread of TensorFlow a run: the same bits however many run at once.

    Args:
        jobs: in the order of their importance.
        directory: where the two files are.
        at_once: runs side by side.
    """
    done = _finished(directory / "results.csv", list(jobs[0].key))
    waiting = [job for job in jobs if _values(job.key) not in done]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done.", flush=True)
    lock = threading.Lock()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(_run, job, directory, lock) for job in waiting]:
            future.result()


def _run(job: Job, directory: Path, lock: threading.Lock) -> None:
    threads = {"intra_op_threads": 1, "inter_op_threads": 1}
    arguments = {**job.arguments, "settings": {**threads, **job.arguments["settings"]}}
    command = [sys.executable, "-m", "experiments.campaign.one_run", json.dumps(arguments)]
    revision = provenance.git_revision(_ROOT) or ""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{job.key} ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
    result = json.loads(ended.stdout.splitlines()[-1])
    curve = result.pop("curve")
    with lock:
        points = [{**job.key, "end": end, "episode_return": value} for end, value in curve]
        _append(directory / "curves.csv", points)
        _append(directory / "results.csv", [{**job.key, **result, "revision": revision}])
        print({**job.key, **result}, flush=True)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _finished(path: Path, key: list[str]) -> set[tuple[str, ...]]:
    return {tuple(row[name] for name in key) for row in read(path)}


def _values(key: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in key.values())


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    is_new = not path.exists()
    shown = [
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(shown)
