"""Processes as the system lists them: whose they are, and whether they are there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable


def descendants(pid: int) -> set[int]:
    """Processes that a process has started, theirs included."""
    parents = {int(child): int(parent) for child, parent, _ in _table()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: Iterable[int]) -> set[int]:
    """Those that are there still; one that has ended and waits for its parent is not."""
    there = {int(pid) for pid, _, state in _table() if not state.startswith("Z")}
    return there & set(pids)


def wait_for_end(pids: Iterable[int], seconds: float) -> set[int]:
    """Waits until none is there; those that are after so many seconds."""
    deadline = time.monotonic() + seconds
    left = alive(pids)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = alive(left)
    return left


def _table() -> list[list[str]]:
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in listed.splitlines()]
