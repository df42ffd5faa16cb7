"""Threads that collect: who makes which part, how far ahead, and every way in which they end."""

from __future__ import annotations

import _thread
import contextlib
import itertools
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from fake_collectors import (
    PATIENCE,
    FakeCollector,
    StillClock,
    UnkillableCollector,
    after,
    announcing,
    die,
    fail,
    finish,
    hang,
    no_thread_left,
    until_stopped,
    wait_until,
)

from trpo_tf.samplers import background
from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.background import Background
from trpo_tf.samplers.collectors import CollectorLost, Part
from trpo_tf.samplers.vector_env import WorkersLost

# Between two looks at who hangs; the clock decides who does.
SOON = 0.02


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    with no_thread_left():
        yield


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(background, "time", clock)
    return clock


@contextlib.contextmanager
def serving(
    *collectors: FakeCollector, parts: int | None = None, ahead: int = 0
) -> Iterator[Background]:
    count = len(collectors) if parts is None else parts
    service = Background(collectors, count, ahead, SOON)
    try:
        yield service
    finally:
        service.close()


def take(service: Background, version: int, oldest: int = 0) -> tuple[list[Part], list[Part]]:
    return service.take_round(Snapshot([], [], version), oldest)


def makers(parts: list[Part]) -> list[Any]:
    return [part.state["by"] for part in parts]


def versions(parts: list[Part]) -> list[int]:
    return [int(part.rollout.policy_version.min()) for part in parts]


# --- who makes what -----------------------------------------------------------------------------


def test_with_none_ahead_each_makes_one_part_of_each_round_with_its_policy() -> None:
    """Whatever the order in which they finish, here the last one first."""
    done = [[threading.Event() for _ in range(3)] for _ in range(3)]

    def deed(round_number: int, index: int) -> Any:
        def in_turn(collector: FakeCollector, snapshot: Snapshot) -> Part:
            assert index == 2 or done[round_number][index + 1].wait(PATIENCE)
            part = finish(collector, snapshot)
            done[round_number][index].set()
            return part

        return in_turn

    collectors = [
        FakeCollector(name, *(deed(round_number, index) for round_number in range(3)))
        for index, name in enumerate("abc")
    ]
    with serving(*collectors) as service:
        for version in range(3):
            parts, dropped = take(service, version)
            assert makers(parts) == ["a", "b", "c"]
            assert versions(parts) == [version] * 3
            assert dropped == []
    assert [collector.versions for collector in collectors] == [[0, 1, 2]] * 3
    assert service.lost == 0


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("num_parts", [1, 2])
def test_no_more_than_the_bound_is_begun_and_lag_is_the_bound(ahead: int, num_parts: int) -> None:
    rounds = 0
    too_many: list[int] = []
    collectors = [FakeCollector(str(index)) for index in range(num_parts)]

    def begun() -> int:
        return sum(len(collector.versions) for collector in collectors)

    def counted(collector: FakeCollector, snapshot: Snapshot) -> Part:
        if begun() > num_parts * (rounds + ahead):
            too_many.append(begun())
        return finish(collector, snapshot)

    for collector in collectors:
        collector._deeds = itertools.repeat(counted)
    with serving(*collectors, ahead=ahead) as service:
        for version in range(6):
            rounds += 1
            parts, _ = take(service, version)
            # Of the first rounds' parts some are begun before there is another policy.
            assert versions(parts) == [max(0, version - ahead)] * num_parts
            wait_until(lambda bound=num_parts * (rounds + ahead): begun() == bound)
    assert begun() == num_parts * (6 + ahead)
    assert too_many == []


def test_one_ahead_is_one_update_old_however_slow_the_collector_is() -> None:
    """The next part begins as the last one ends, before the learner can hand over its update."""
    with serving(FakeCollector(), ahead=1) as service:
        lags = [version - versions(take(service, version)[0])[0] for version in range(50)]
    assert lags == [0] + [1] * 49


def test_parts_are_taken_as_they_are_finished_and_keep_their_places_where_they_can() -> None:
    release, begun, last = threading.Event(), threading.Event(), threading.Event()
    slow = FakeCollector("slow", announcing(begun, after(release)))
    fast = FakeCollector("fast", after(begun), finish, finish, after(last))
    with serving(slow, fast, ahead=1) as service:
        try:
            parts, _ = take(service, 0)
            assert makers(parts) == ["fast", "fast"]
            assert [part.state["next_step"] for part in parts] == [2, 1], "the first in its own"
            wait_until(lambda: len(fast.versions) == 3)
            release.set()
            parts, _ = take(service, 1)
            assert makers(parts) == ["slow", "fast"], "in the places of their numbers"
            assert [part.state["next_step"] for part in parts] == [1, 3]
        finally:
            release.set()
            last.set()


def test_parts_of_an_old_policy_are_dropped_and_collected_anew() -> None:
    collector = FakeCollector()
    with serving(collector, ahead=2) as service:
        take(service, 0)
        wait_until(lambda: len(collector.versions) == 3)
        parts, dropped = take(service, 5, oldest=4)
        assert versions(parts) == [5]
        assert versions(dropped) == [0, 0]
        assert parts[0].state["next_step"] == 4
        # Begun with what was the newest policy then, so still young enough.
        parts, dropped = take(service, 6, oldest=5)
        assert (versions(parts), dropped) == ([5], [])
    assert service.lost == 0


def test_a_collector_that_comes_later_serves_like_the_others() -> None:
    release, begun = threading.Event(), threading.Event()
    stuck = FakeCollector("stuck", announcing(begun, after(release)))
    with serving(stuck, ahead=1) as service:
        later = FakeCollector("later", after(begun))
        service.add(later)
        assert service.num_collectors == 2
        parts, _ = take(service, 0)
        assert makers(parts) == ["later"]
        release.set()
    assert (stuck.closed, later.closed) == (1, 1)


# --- deaths -------------------------------------------------------------------------------------


def test_what_dies_is_replaced_and_counted() -> None:
    collector = FakeCollector("mortal", finish, die, finish, die, die, finish)
    with serving(collector) as service:
        found = [versions(take(service, version)[0]) for version in range(4)]
    assert found == [[0], [1], [2], [3]]
    assert service.lost == 3
    assert collector.versions == [0, 1, 1, 2, 2, 2, 3]
    assert collector.lives == 4


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_others_stand_in_for_one_that_is_being_replaced(ahead: int) -> None:
    replaced = threading.Event()
    dead = FakeCollector("dead", die)
    dead.on_prepare = lambda: assert_(dead.lives == 0 or replaced.wait(PATIENCE))
    healthy = FakeCollector("healthy")
    with serving(dead, healthy, ahead=ahead) as service:
        for version in range(3):
            parts, _ = take(service, version)
            assert makers(parts) == ["healthy", "healthy"]
        replaced.set()
        wait_until(lambda: dead.lives == 2)
        wait_until(lambda: "dead" in makers(take(service, 3)[0]))
    assert service.lost == 1


def assert_(holds: bool) -> None:
    assert holds


def test_three_deaths_in_a_row_end_it() -> None:
    collector = FakeCollector("doomed", finish, die, die, die)
    with serving(collector) as service:
        take(service, 0)
        with pytest.raises(WorkersLost, match=r"doomed was lost 3 times in a row.*doomed has died"):
            take(service, 1)
        with pytest.raises(WorkersLost, match="doomed"):
            take(service, 2)
    assert service.lost == 3
    assert collector.lives == 3


def test_deaths_before_there_is_anything_to_lose_end_it_too() -> None:
    """Such as processes that cannot be started; no part was begun, so none is lost."""
    collector = FakeCollector("unborn")

    def die_at_birth() -> None:
        raise CollectorLost("no room")

    collector.on_prepare = die_at_birth
    with (
        serving(collector) as service,
        pytest.raises(WorkersLost, match=r"unborn was lost 3 times .*no room") as raised,
    ):
        take(service, 0)
    assert isinstance(raised.value.__cause__, CollectorLost)
    assert service.lost == 0


# --- what hangs ---------------------------------------------------------------------------------


def racing(clock: StillClock, deed: Any) -> Any:
    """While the deed lasts the clock runs."""

    def deed_on_time(collector: FakeCollector, snapshot: Snapshot) -> Part:
        clock.is_racing = True
        try:
            return deed(collector, snapshot)
        finally:
            clock.is_racing = False

    return deed_on_time


def test_what_hangs_is_killed_and_replaced(clock: StillClock) -> None:
    collector = FakeCollector("sleepy", finish, racing(clock, hang), finish)
    with serving(collector) as service:
        assert [versions(take(service, version)[0]) for version in range(3)] == [[0], [1], [2]]
    assert service.lost == 1
    assert collector.lives == 2


def test_what_hangs_in_every_life_ends_it(clock: StillClock) -> None:
    collector = FakeCollector("sleepy", *[racing(clock, hang)] * 3)
    with (
        serving(collector) as service,
        pytest.raises(TimeoutError, match=r"sleepy was lost 3 times .*sleepy was killed"),
    ):
        take(service, 0)


def test_the_last_death_says_what_it_was(clock: StillClock) -> None:
    collector = FakeCollector("sleepy", racing(clock, hang), die, die)
    with serving(collector) as service, pytest.raises(WorkersLost, match="sleepy has died"):
        take(service, 0)


def test_what_hangs_and_cannot_be_killed_is_named_with_its_line(
    clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_CLOSING_SECONDS", 0.05)
    release = threading.Event()

    def stuck_simulator(collector: FakeCollector, snapshot: Snapshot) -> Part:
        clock.is_racing = True
        release.wait()
        return finish(collector, snapshot)

    collector = UnkillableCollector("the sampler of Stuck-v0", finish, stuck_simulator)
    service = Background([collector], 1, 0, SOON)
    try:
        take(service, 0)
        with pytest.raises(TimeoutError) as raised:
            take(service, 1)
        message = str(raised.value)
        assert message.startswith("the sampler of Stuck-v0 has made no step for ")
        assert "its environment hangs at " in message
        assert "threading.py:" in message, "where the simulator waits"
        assert "raise worker_timeout (0.02 s)" in message
        clock.is_racing = False
        service.close()
        assert collector.closed == 0, "its thread still uses it"
    finally:
        release.set()
    wait_until(lambda: not any(thread.name == collector.name for thread in threading.enumerate()))
    service.close()
    assert collector.closed == 1


def test_steps_are_signs_of_life(clock: StillClock) -> None:
    """However late it is, whoever has stepped since the last look does not hang."""
    looks = 0

    def slow(collector: FakeCollector, snapshot: Snapshot) -> Part:
        clock.is_racing = True
        wait_until(lambda: looks > 5)
        clock.is_racing = False
        return finish(collector, snapshot)

    class Stepping(FakeCollector):
        @property
        def steps_made(self) -> int:
            nonlocal looks
            looks += 1
            return looks

        @steps_made.setter
        def steps_made(self, value: int) -> None:
            pass

    with serving(Stepping("slow", slow)) as service:
        assert versions(take(service, 0)[0]) == [0]
    assert service.lost == 0


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("num_stuck", [1, 2])
def test_those_that_cannot_begin_are_named(num_stuck: int, ahead: int, clock: StillClock) -> None:
    """With none ahead the one that has begun cannot make what the others are there for."""
    release = threading.Event()
    stuck = [FakeCollector(f"stuck {index}") for index in range(num_stuck)]
    for collector in stuck:
        collector.on_prepare = lambda: assert_(release.wait(PATIENCE))
    begun = [FakeCollector("begun")] * (2 - num_stuck)
    with serving(*stuck, *begun, ahead=ahead) as service:
        try:
            if begun and ahead:
                assert makers(take(service, 0)[0]) == ["begun", "begun"]
            else:
                wait_until(lambda: all(len(collector.versions) == 0 for collector in begun))
                clock.is_racing = True
                with pytest.raises(TimeoutError, match=r"Nothing could begin .* s: stuck 0"):
                    take(service, 0)
        finally:
            clock.is_racing = False
            release.set()


# --- errors -------------------------------------------------------------------------------------


def test_errors_come_with_their_own_traceback() -> None:
    with serving(FakeCollector("faulty", finish, fail)) as service:
        take(service, 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as raised:
                take(service, 1)
            frames = traceback.extract_tb(raised.value.__traceback__)
            assert "fail" in [frame.name for frame in frames]
            assert frames[-1].filename.endswith("fake_collectors.py")


@pytest.mark.parametrize("error", [OSError("no such file"), SystemExit(3)])
def test_what_making_the_environments_raises_comes_too(error: BaseException) -> None:
    collector = FakeCollector("unmade")

    def make_env() -> None:
        raise error

    collector.on_prepare = make_env
    with serving(collector) as service:
        with pytest.raises(type(error)) as raised:
            take(service, 0)
        assert raised.value is error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert "make_env" in names


def test_an_error_ends_the_others() -> None:
    healthy = FakeCollector("healthy")
    with serving(FakeCollector("faulty", fail), healthy, ahead=100) as service:
        with pytest.raises(ZeroDivisionError):
            # The healthy one may make the parts of several rounds by then.
            for version in range(10_000):
                take(service, version)
        wait_until(lambda: not any(thread.name == "healthy" for thread in threading.enumerate()))


# --- the end ------------------------------------------------------------------------------------


def test_closing_frees_everything_and_refuses_the_rest() -> None:
    collectors = [FakeCollector(), FakeCollector()]
    with serving(*collectors, ahead=3) as service:
        take(service, 0)
        service.close()
        with pytest.raises(RuntimeError, match="closed; make a new one"):
            take(service, 1)
    assert all(collector.closed for collector in collectors)


def test_closing_before_anything_was_asked_for() -> None:
    collector = FakeCollector()
    with serving(collector):
        pass
    assert (collector.versions, collector.closed) == ([], 1)


def test_closing_while_something_collects() -> None:
    begun = threading.Event()
    collector = FakeCollector("busy", finish, announcing(begun, until_stopped))
    with serving(collector, ahead=1) as service:
        take(service, 0)
        assert begun.wait(PATIENCE)
    assert collector.closed == 1
    assert service.lost == 0, "nobody misses it"


def test_closing_while_something_hangs_kills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    collector = FakeCollector("hung", finish, announcing(begun, hang))
    join = background._Worker.join

    def join_soon(worker: Any, seconds: float) -> None:
        join(worker, seconds if collector.was_killed.is_set() else 0.05)

    monkeypatch.setattr(background._Worker, "join", join_soon)
    with serving(collector, ahead=1) as service:
        take(service, 0)
        assert begun.wait(PATIENCE)
    assert collector.was_killed.is_set()
    assert (collector.closed, collector.lives) == (1, 1)


def test_closing_while_something_is_being_made() -> None:
    release, begun = threading.Event(), threading.Event()
    collector = FakeCollector()

    def make() -> None:
        begun.set()
        assert release.wait(PATIENCE)

    collector.on_prepare = make
    with serving(collector):
        assert begun.wait(PATIENCE)
        closer = threading.Timer(0.05, release.set)
        closer.start()
    assert collector.versions == []
    assert collector.closed == 1


def test_ctrl_c_reaches_a_learner_that_waits() -> None:
    def interrupt(collector: FakeCollector, snapshot: Snapshot) -> Part:
        _thread.interrupt_main()
        return until_stopped(collector, snapshot)

    collector = FakeCollector("busy", interrupt)
    # A shell's background job starts with SIGINT ignored, and so do the tests in it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with serving(collector) as service, pytest.raises(KeyboardInterrupt):
            take(service, 0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert collector.closed == 1
