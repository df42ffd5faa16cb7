"""Collectors that do as they are told, a clock that runs when it is told, and no thread left."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.collectors import CollectorLost, Part
from trpo_tf.types import EpisodeStats, Rollout

# For what must come in the end, however busy the machine is.
PATIENCE = 60.0

Deed = Callable[["FakeCollector", Snapshot], Part]


class FakeCollector:
    """Does one deed after another, each in place of a rollout; then rollouts without end.

    Attributes:
        versions: of the snapshots that it was given.
        lives: begun so far.
        closed: how often.
        is_stopped, was_killed: set when that happens.
    """

    def __init__(self, name: str = "fake", *deeds: Deed) -> None:
        self.name = name
        self.steps_made = 0
        self.versions: list[int] = []
        self.lives = 0
        self.closed = 0
        self.is_stopped = threading.Event()
        self.was_killed = threading.Event()
        self.restored: Any = None
        self.on_prepare: Callable[[], None] = lambda: None
        self._is_alive = False
        self._deeds = iter(deeds)

    def prepare(self) -> None:
        if not self._is_alive:
            self.on_prepare()
            self.lives += 1
            self.was_killed.clear()
            self._is_alive = True

    def collect(self, snapshot: Snapshot) -> Part:
        assert self._is_alive
        self.versions.append(snapshot.version)
        deed = next(self._deeds, finish)
        try:
            return deed(self, snapshot)
        except CollectorLost:
            self._is_alive = False
            raise

    def restore(self, state: Any) -> None:
        self.restored = state

    def kill(self) -> bool:
        self.was_killed.set()
        return True

    def stop(self) -> None:
        self.is_stopped.set()

    def close(self) -> None:
        self.closed += 1


class UnkillableCollector(FakeCollector):
    """One whose environment cannot be ended."""

    def kill(self) -> bool:
        return False


def finish(collector: FakeCollector, snapshot: Snapshot) -> Part:
    """A part whose only reward is the number of the snapshots its collector has been given."""
    collector.steps_made += 1
    count = len(collector.versions)
    row, flag = np.full([1, 1], float(count)), np.zeros([1, 1], bool)
    version = np.full([1, 1], snapshot.version)
    rollout = Rollout(np.zeros([2, 1, 1]), row, row, row, ~flag, flag, ~flag, version)
    episodes = EpisodeStats(np.full(1, float(count)), np.ones(1, np.int64))
    return Part(
        rollout, episodes, {"next_step": count, "env_steps": count, "by": collector.name}, 1
    )  # type: ignore[dict-item]


def die(collector: FakeCollector, snapshot: Snapshot) -> Part:
    raise CollectorLost(f"{collector.name} has died")


def fail(collector: FakeCollector, snapshot: Snapshot) -> Part:
    return Part(*[1 / 0] * 4)


def hang(collector: FakeCollector, snapshot: Snapshot) -> Part:
    """Makes no step until it is killed."""
    assert collector.was_killed.wait(PATIENCE)
    raise CollectorLost(f"{collector.name} was killed")


def until_stopped(collector: FakeCollector, snapshot: Snapshot) -> Part:
    """Goes on until it is told to stop, as a rollout does that would take for ever."""
    while not collector.is_stopped.wait(0.001):
        collector.steps_made += 1
    raise ArithmeticError("nobody awaits this")


def after(event: threading.Event, deed: Deed = finish) -> Deed:
    """A deed that waits for something first; it counts as hung meanwhile."""

    def deed_after(collector: FakeCollector, snapshot: Snapshot) -> Part:
        assert event.wait(PATIENCE)
        return deed(collector, snapshot)

    return deed_after


def announcing(event: threading.Event, deed: Deed = finish) -> Deed:
    """A deed that says that it has begun."""

    def deed_announced(collector: FakeCollector, snapshot: Snapshot) -> Part:
        event.set()
        return deed(collector, snapshot)

    return deed_announced


class StillClock:
    """Stands in for a module's `time`: stands still until it races, so nothing is late by chance.

    Racing, it goes on by an hour whenever it is read.

    Attributes:
        is_racing: whether it does.
        alarm: an event that makes it race too.
    """

    def __init__(self) -> None:
        self.is_racing = False
        self.alarm: Any = threading.Event()
        self._hours = itertools.count(1)
        self._now = 0.0

    def monotonic(self) -> float:
        if self.is_racing or self.alarm.is_set():
            self._now = 3600.0 * next(self._hours)
        return self._now


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for what must come true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


@contextlib.contextmanager
def no_thread_left() -> Iterator[None]:
    """Whatever threads are started in the body have ended at its end."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} is left behind"
