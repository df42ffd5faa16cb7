"""Processes as the system lists them: whose they are, and whether they are there."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Of the environment of what a trial starts. It is handed down, so it also tells those whose parent
# has died, and those that were started at the very moment of a kill.
_MARK = "TRPO_TF_FAULTS_MARK"


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
    wanted = set(pids)
    return wait_for_none(lambda: alive(wanted), seconds)


def wait_for_none(those: Callable[[], set[int]], seconds: float) -> set[int]:
    """Waits until there are none of a kind; those that are there after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := those()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def new_mark() -> dict[str, str]:
    """A variable for the environment of a process, by which `marked` finds its descendants."""
    return {_MARK: secrets.token_hex(8)}


@contextlib.contextmanager
def marking() -> Iterator[dict[str, str]]:
    """Marks what this process starts meanwhile; what it forks has no environment of its own."""
    mark = new_mark()
    os.environ.update(mark)
    try:
        yield mark
    finally:
        del os.environ[_MARK]


def marked(mark: dict[str, str]) -> set[int]:
    """Processes that were started with a mark, wherever they are in the tree now.

    Raises:
        FileNotFoundError: there is no /proc (Linux only).
    """
    entry = f"{_MARK}={mark[_MARK]}".encode()
    found = set()
    for name in os.listdir("/proc"):
        # Processes end while they are looked at, and those of others say nothing.
        with contextlib.suppress(OSError):
            if name.isdecimal() and entry in Path("/proc", name, "environ").read_bytes():
                found.add(int(name))
    return found


def command_of(pid: int) -> str:
    """What a process is called; nothing if it has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _table() -> list[list[str]]:
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in listed.splitlines()]
