"""What was raised and where, here and in another process."""

from __future__ import annotations

import pytest

from trpo_tf.failure import note_environment, what_and_where


def raise_deep_down() -> None:
    raise LookupError("no such joint")


def test_the_innermost_place_is_told() -> None:
    with pytest.raises(LookupError) as caught:
        raise_deep_down()
    what, where = what_and_where(caught.value)
    assert what == "LookupError: no such joint"
    line = raise_deep_down.__code__.co_firstlineno + 1
    assert where == f"{__file__}:{line}, in raise_deep_down"


def test_of_what_an_environment_raised_its_own_place_is_told() -> None:
    with pytest.raises(LookupError) as caught:
        raise_deep_down()
    note_environment(caught.value, 3, 'File "sim.py", line 7, in step\n  torque(joint)')
    assert what_and_where(caught.value) == (
        "LookupError: no such joint",
        "sim.py:7, in step, environment 3",
    )


def test_a_cause_without_frames_is_the_error_itself() -> None:
    """Not everything that has a cause has come from elsewhere."""
    error = ValueError("mine")
    error.cause = KeyError("another's")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="mine") as caught:
        raise error
    assert what_and_where(caught.value)[0] == "ValueError: mine"
