"""Threads that collect beside the learner, and what they may collect ahead of it."""

from __future__ import annotations

import collections
import dataclasses
import logging
import sys
import threading
import time
import traceback
from collections.abc import Sequence

from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.collectors import Collector, CollectorLost, Part
from trpo_tf.samplers.vector_env import WorkersLost

_logger = logging.getLogger(__name__)

# How many lives in a row a collector may lose without a single rollout.
_MOST_LIVES = 3
_CLOSING_SECONDS = 5.0
# A sampler whose environments are processes finds hung ones out itself, and can say which: its
# time-out comes first.
_GRACE_SECONDS = 2.0
# To import what is needed and to make the environments, on a busy machine.
_STARTING_SECONDS = 300.0


class Background:
    """Runs each collector in a thread of its own, bounded in how far they may run ahead.

    The learner asks for rounds: a round hands over the newest policy and takes a number of parts.
    While round k is under way, or the learner works on it, parts of the rounds up to k + `ahead`
    may be collected. With `ahead` 0 every collector makes one part of a round with the policy of
    that round (one that is being replaced may be stood in for). Otherwise parts are taken as they
    are finished.

    Args:
        collectors: at least one.
        parts: that make a round.
        ahead: rounds ≥ 0.
        timeout: seconds without a step after which a collector counts as hung.

    Attributes:
        lost: parts that died unfinished.
    """

    def __init__(
        self, collectors: Sequence[Collector], parts: int, ahead: int, timeout: float
    ) -> None:
        self.lost = 0
        self._parts = parts
        self._ahead = ahead
        self._timeout = timeout
        self._changed = threading.Condition()
        self._workers: list[_Worker] = []
        self._rounds = 0
        self._started = 0
        self._snapshot: Snapshot | None = None
        self._finished: collections.deque[tuple[int, Part]] = collections.deque()
        self._error: BaseException | None = None
        self._is_closed = False
        for collector in collectors:
            self.add(collector)

    @property
    def num_collectors(self) -> int:
        """Collectors, those that are being replaced included."""
        return len(self._workers)

    def add(self, collector: Collector) -> None:
        """Takes one more collector into service."""
        worker = _Worker(len(self._workers), collector)
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=collector.name, daemon=True
        )
        with self._changed:
            self._workers.append(worker)
        worker.thread.start()

    def take_round(self, snapshot: Snapshot, oldest_version: int) -> tuple[list[Part], list[Part]]:
        """Hands over a policy and waits for a round of parts.

        Args:
            snapshot: for all rollouts that begin from now on.
            oldest_version: parts of older policies are dropped and replaced.

        Returns:
            The parts of the round, each in the place of its collector unless another part has it,
            and those that were dropped.

        Raises:
            TimeoutError: a collector hangs that cannot be replaced, its replacements hang too, or
                those that the round waits for cannot begin.
            WorkersLost: a collector was lost again and again.
            RuntimeError: all is closed.
            Exception: what a collector raised, with its own traceback.
        """
        taken: list[tuple[int, Part]] = []
        dropped: list[Part] = []
        busy_at = time.monotonic()
        with self._changed:
            self._snapshot = snapshot
            self._rounds += 1
            self._start_waiting()
            while True:
                self._raise_error()
                while self._finished and len(taken) < self._parts:
                    index, part = self._finished.popleft()
                    if part.rollout.policy_version.min() >= oldest_version:
                        taken.append((index, part))
                    else:
                        dropped.append(part)
                        self._started -= 1
                        self._start_waiting()
                if len(taken) == self._parts:
                    return _in_places(taken), dropped
                self._changed.wait(min(1.0, self._timeout / 4))
                self._kill_hung()
                if any(worker.is_busy for worker in self._workers):
                    busy_at = time.monotonic()
                elif time.monotonic() - busy_at > max(self._timeout, _STARTING_SECONDS):
                    raise TimeoutError(self._nobody(time.monotonic() - busy_at))

    def close(self) -> None:
        """Ends all threads and frees what collects.

        A thread whose environment hangs and cannot be killed is left behind, with its environment,
        to end with the process.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.collector.stop()
        deadline = time.monotonic() + _CLOSING_SECONDS
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            if not worker.has_ended and worker.collector.kill():
                worker.join(_CLOSING_SECONDS)
            if worker.has_ended:
                worker.collector.close()

    def _work(self, worker: _Worker) -> None:
        snapshot: Snapshot | None = None
        while not self._is_over():
            try:
                if snapshot is None:
                    worker.collector.prepare()
                    snapshot = self._begin(worker)
                    continue
                part = worker.collector.collect(snapshot)
            except CollectorLost as error:
                snapshot = None
                self._lose(worker, error)
            except BaseException as error:  # noqa: BLE001 (raised again in the learner)
                self._stop(error)
            else:
                snapshot = self._deliver(worker, part)

    def _is_over(self) -> bool:
        return self._is_closed or self._error is not None

    def _begin(self, worker: _Worker) -> Snapshot | None:
        with self._changed:
            worker.is_prepared = True
            worker.was_hung = False
            return self._next(worker)

    def _deliver(self, worker: _Worker, part: Part) -> Snapshot | None:
        with self._changed:
            worker.deaths = 0
            worker.was_hung = False
            worker.is_busy = False
            self._finished.append((worker.index, part))
            self._changed.notify_all()
            return self._next(worker)

    def _next(self, worker: _Worker) -> Snapshot | None:
        """Waits until the worker may start; the policy to start with, None at the end."""
        worker.given = None
        self._start_waiting()
        while worker.given is None and not self._is_over():
            self._changed.wait()
        return None if self._is_over() else worker.given

    def _start_waiting(self) -> None:
        """Gives the policy to all that may start.

        By whoever changes what they wait for, under the same lock: a part's policy must not depend
        on how soon a thread wakes up.
        """
        for worker in self._workers:
            if worker.is_prepared and worker.given is None and self._may_start(worker):
                self._started += 1
                worker.last_round = self._rounds
                worker.is_busy = True
                worker.given = self._snapshot
                worker.note_progress()
        self._changed.notify_all()

    def _may_start(self, worker: _Worker) -> bool:
        if self._rounds == 0 or self._started >= self._parts * (self._rounds + self._ahead):
            return False
        if self._ahead or worker.last_round < self._rounds:
            return True
        return any(other.deaths and not other.is_prepared for other in self._workers)

    def _lose(self, worker: _Worker, error: CollectorLost) -> None:
        with self._changed:
            if self._is_over():
                return
            if worker.is_busy:
                self.lost += 1
                self._started -= 1
            worker.is_busy = worker.is_prepared = False
            worker.last_round = 0
            worker.deaths += 1
            self._start_waiting()
        how = f"after {self._timeout:g} s without a step: " if worker.was_hung else ""
        if worker.deaths < _MOST_LIVES:
            _logger.warning("%s%s It is replaced.", how, error)
            return
        kind = TimeoutError if worker.was_hung else WorkersLost
        failure = kind(
            f"{worker.collector.name} was lost {worker.deaths} times in a row without a "
            f"finished rollout, the last time so: {how}{error}"
        )
        failure.__cause__ = error
        self._stop(failure)

    def _stop(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _kill_hung(self) -> None:
        for worker in self._workers:
            seconds = worker.seconds_without_step()
            if seconds < self._timeout + _GRACE_SECONDS:
                continue
            worker.was_hung = True
            worker.note_progress()
            if not worker.collector.kill():
                raise TimeoutError(
                    f"{worker.collector.name} has made no step for {seconds:.0f} s; its "
                    f"environment hangs{worker.where_it_is()}. Mend it, or raise worker_timeout "
                    f"({self._timeout:g} s) if its steps take so long."
                )

    def _raise_error(self) -> None:
        if self._is_closed:
            raise RuntimeError("This sampler is closed; make a new one.")
        if self._error is not None:
            raise self._error

    def _nobody(self, seconds: float) -> str:
        names = [worker.collector.name for worker in self._workers if not worker.is_prepared]
        return f"Nothing could begin to collect for {seconds:.0f} s: {', '.join(names)}."


def _in_places(taken: Sequence[tuple[int, Part]]) -> list[Part]:
    """A collector's part in the place of its number; the others where there is room.

    So environments keep their column of the rollout as long as nobody falls behind.
    """
    places: list[Part | None] = [None] * len(taken)
    others = []
    for index, part in taken:
        if index < len(places) and places[index] is None:
            places[index] = part
        else:
            others.append(part)
    return [part or others.pop(0) for part in places]


@dataclasses.dataclass
class _Worker:
    """A collector and what its thread is about; all changes are made under the lock.

    Attributes:
        index: its place in a round.
        collector: what it runs.
        thread: that runs it.
        is_prepared: whether it has a life.
        given: the policy of the part that it collects, None while it waits.
        is_busy: whether it collects a part.
        last_round: the round in which it started its last part.
        deaths: lives lost since its last finished part.
        was_hung: whether the last of them was ended for making no step.
    """

    index: int
    collector: Collector
    thread: threading.Thread | None = None
    is_prepared: bool = False
    given: Snapshot | None = None
    is_busy: bool = False
    last_round: int = 0
    deaths: int = 0
    was_hung: bool = False
    _steps_seen: int = 0
    _seen_at: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether its thread is over."""
        assert self.thread is not None
        return not self.thread.is_alive()

    def join(self, seconds: float) -> None:
        """Waits for the end of its thread."""
        assert self.thread is not None
        self.thread.join(seconds)

    def note_progress(self) -> None:
        """Begins to count the seconds anew."""
        self._steps_seen, self._seen_at = self.collector.steps_made, time.monotonic()

    def seconds_without_step(self) -> float:
        """How long it has been busy without a step of its environments."""
        if not self.is_busy or self.collector.steps_made != self._steps_seen:
            self.note_progress()
        return time.monotonic() - self._seen_at

    def where_it_is(self) -> str:
        """The line of source that its thread is at."""
        frame = sys._current_frames().get(self.thread.ident or 0) if self.thread else None
        if frame is None:
            return ""
        place = traceback.extract_stack(frame)[-1]
        return f" at {place.filename}:{place.lineno}, in {place.name}"
