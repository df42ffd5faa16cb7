"""Ctrl-C and SIGTERM as a request that is granted between two updates."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes the first SIGINT or SIGTERM instead of stopping; the second of them stops at once.

    A context manager, for the main thread; at its end the handlers that were there before are back.

    Attributes:
        signal_number: the signal that came, None before one has.

    >>> with Interruption() as interruption:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interruption.signal_number
    <Signals.SIGTERM: 15>
    """

    def __init__(self) -> None:
        self.signal_number: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = signal.Signals(number)
