"""Fields of a checked configuration, apart from any one configuration."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import numpy as np
import pytest

from trpo_tf import setting

_LIST = setting.described("A list.", lambda value: 0 not in value, "without a 0", "Say 1.")


@dataclasses.dataclass
class Example:
    rate: float = setting.number(0.5, "A rate.", "0.1 to 0.9", minimum=0, maximum=1, exclusive=True)
    count: int = setting.number(3, "A count.", "1 to 5", minimum=1)
    limit: float | None = setting.number(None, "A limit.", "1", minimum=0)
    colour: str = setting.choice("red", "A colour", {"red": "warm", "blue": "cold"})
    loud: bool = setting.switch(False, "Loud.")
    sizes: tuple[int, ...] = dataclasses.field(default=(1,), metadata=_LIST)
    shares: tuple[float, ...] | None = dataclasses.field(default=None, metadata=_LIST)


FIELDS = {field.name: field for field in dataclasses.fields(Example)}
HINTS = typing.get_type_hints(Example)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", 1, 1.0),
        ("rate", np.float32(0.25), 0.25),
        ("count", np.int64(4), 4),
        ("limit", None, None),
        ("limit", 0, 0.0),
        ("colour", "blue", "blue"),
        ("loud", True, True),
        ("sizes", [2, np.int64(3)], (2, 3)),
        ("shares", None, None),
        ("shares", [1, np.float32(0.5)], (1.0, 0.5)),
    ],
)
def test_allowed_values_become_plain_python(name: str, value: Any, expected: Any) -> None:
    result = setting.checked(FIELDS[name], HINTS[name], value)
    assert result == expected
    assert type(result) is type(expected)
    if isinstance(expected, tuple):
        assert [type(entry) for entry in result] == [type(entry) for entry in expected]


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("rate", 0, ValueError, "rate must be in (0, 1], got 0.0. Typical values are 0.1 to 0.9."),
        ("rate", 1.5, ValueError, "rate must be in (0, 1], got 1.5."),
        ("rate", float("nan"), ValueError, "rate must be a finite number, got nan."),
        ("rate", float("inf"), ValueError, "rate must be a finite number, got inf."),
        ("rate", "0.5", TypeError, "rate must be a number, got '0.5'."),
        ("rate", True, TypeError, "rate must be a number, got True."),
        ("rate", None, TypeError, "rate must be a number, got None."),
        ("count", 0, ValueError, "count must be >= 1, got 0. Typical values are 1 to 5."),
        ("count", 2.0, TypeError, "count must be a whole number, got 2.0."),
        ("count", True, TypeError, "count must be a whole number, got True."),
        ("limit", -1, ValueError, "limit must be >= 0 or none, got -1.0."),
        ("limit", "x", TypeError, "limit must be a number or none, got 'x'."),
        ("colour", "green", ValueError, "colour must be 'red' or 'blue', got 'green'."),
        ("loud", 1, TypeError, "loud must be true or false, got 1."),
        ("sizes", (2, 0), ValueError, "sizes must be without a 0, got (2, 0). Say 1."),
        ("sizes", (0.5,), TypeError, "sizes must be a list of whole numbers such as 64,64, got"),
        ("sizes", None, TypeError, "sizes must be a list of whole numbers such as 64,64, got None"),
        ("shares", ("1",), TypeError, "shares must be a list of numbers such as 1,0.5 or none, "),
        ("shares", (True,), TypeError, "shares must be a list of numbers such as 1,0.5 or none, "),
        ("shares", 0.5, TypeError, "shares must be a list of numbers such as 1,0.5 or none, got "),
        ("shares", (0.5, 0), ValueError, "shares must be without a 0, got (0.5, 0.0)."),
    ],
)
def test_refusals_say_what_came_and_what_was_expected(
    name: str, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        setting.checked(FIELDS[name], HINTS[name], value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rate", " 0.25 ", 0.25),
        ("count", "1e6", 1_000_000),
        ("count", "1_000", 1000),
        ("limit", "none", None),
        ("limit", "None", None),
        ("colour", "blue", "blue"),
        ("loud", "true", True),
        ("sizes", "64, 1e2", (64, 100)),
        ("shares", "1,0.5,", (1.0, 0.5)),
        ("shares", "none", None),
    ],
)
def test_text_is_read_in_the_type_of_its_field(name: str, text: str, expected: Any) -> None:
    assert setting.parsed(FIELDS[name], HINTS[name], text) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rate", "small"),
        ("count", "2.5"),
        ("count", "nan"),
        ("count", "inf"),
        ("loud", "yes"),
        ("sizes", "1,0.5"),
        ("shares", "1,x"),
    ],
)
def test_text_of_another_type_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got '{text}'"):
        setting.parsed(FIELDS[name], HINTS[name], text)
