"""Signals as requests: noted once, obeyed twice, and left alone by worker processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from trpo_tf.interruption import Interruption, workers_ignore_ctrl_c

PROGRAM = "import signal; signal.raise_signal(signal.SIGINT); print('still here')"


@pytest.fixture(autouse=True)
def ctrl_c_as_in_a_terminal() -> Iterator[None]:
    """A shell's background job starts with SIGINT ignored, and so do the tests in it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_a_later_one_obeyed(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    now = 100.0
    with Interruption(lambda: now) as interruption:
        assert interruption.signal_number is None
        signal.raise_signal(number)
        now += 0.9
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal_number is number
        now += 0.2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="wrong"), Interruption():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGTERM) is before


def test_processes_started_in_the_body_ignore_ctrl_c() -> None:
    with workers_ignore_ctrl_c():
        worker = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert worker.stdout == "still here\n"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_processes_started_in_another_thread_ignore_ctrl_c_too() -> None:
    """The main thread goes on to hear it, and the other one does again after the body."""
    workers: list[subprocess.CompletedProcess[str]] = []
    masks: list[set[signal.Signals]] = []

    def start() -> None:
        with workers_ignore_ctrl_c():
            workers.append(
                subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
            )
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [worker.stdout for worker in workers] == ["still here\n"]
    assert [signal.SIGINT in mask for mask in masks] == [True, False]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_body_lifts_it_too() -> None:
    masks: list[set[signal.Signals]] = []

    def start() -> None:
        with pytest.raises(ValueError, match="wrong"), workers_ignore_ctrl_c():
            raise ValueError("wrong")
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert masks == [set()]
    with pytest.raises(ValueError, match="wrong"), workers_ignore_ctrl_c():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
