"""Ctrl-C and SIGTERM as a request that is granted between two updates."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `timeout` and others signal a process and then its group, so one request can come twice.
_ONE_REQUEST_SECONDS = 1.0
# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Interruption:
    """Notes the first SIGINT or SIGTERM instead of stopping; the next of them stops at once.

    What comes within a second of the first is part of the same request. A context manager, for the
    main thread; at its end the handlers that were there before are back.

    Args:
        clock: seconds; only differences count.

    Attributes:
        signal_number: the signal that came, None before one has.

    >>> with Interruption() as interruption:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interruption.signal_number.name
    'SIGTERM'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted_at = 0.0
        self.signal_number: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = signal.Signals(number)
            self._noted_at = self._clock()
        elif self._clock() - self._noted_at > _ONE_REQUEST_SECONDS:
            raise KeyboardInterrupt


@contextlib.contextmanager
def workers_ignore_ctrl_c() -> Iterator[None]:
    """Processes that are started in the body leave Ctrl-C to this one.

    A terminal sends SIGINT to all of them, and a worker that ended by itself would take the last
    update with it. An ignored signal is inherited, whichever way a process is started.

    >>> with workers_ignore_ctrl_c():
    ...     signal.raise_signal(signal.SIGINT)
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may set handlers; a thread's mask is inherited as well.
        with _sigint_blocked():
            yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """Has the system kill this process when the thread that started it ends, or its process.

    A worker notices the end of its pipe, but not while it hangs or is stopped; and until it does,
    those that were forked before it do not see the end of theirs. Only Linux can do it; elsewhere
    nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
