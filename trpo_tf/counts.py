"""Counts out of a file: whole numbers from 0 on that leave room to go on counting."""

from __future__ import annotations

from typing import Any

_MOST = 2**62


def checked_count(value: Any) -> int:
    """Gives back a count.

    Raises:
        ValueError: it is no whole number, or below 0, or so large that it would soon overflow.

    >>> checked_count(3)
    3
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError(f"a count must be a whole number from 0 to 2^62, got {str(value)[:80]!r}.")
    return value
