"""Which of many combinations a test makes each time; the rest are made by `pytest -m long`.

Whatever compiles takes seconds a case, and most combinations of a kind of policy, a way of running
and a data type say nothing that those of their parts do not say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest


def covering(longer: Iterable[Any], shorter: Sequence[Any]) -> list[Any]:
    """All pairs of two axes; each value of either is in a short pair, the rest are marked long.

    Each value of the longer axis has one short pair, with the values of the shorter in turn.
    """
    return [
        as_case((value, other), is_short=row % len(shorter) == column)
        for row, value in enumerate(longer)
        for column, other in enumerate(shorter)
    ]


def only(short: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """All cases; those that are not among the short ones are marked long."""
    return [as_case(case, is_short=case in short) for case in cases]


def long(cases: Iterable[Any]) -> list[Any]:
    """The cases, marked long."""
    return only((), cases)


def as_case(case: Any, is_short: bool) -> Any:
    """A case of `pytest.mark.parametrize`; a tuple is one of several arguments."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=() if is_short else pytest.mark.long)
