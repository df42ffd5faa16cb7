"""One setting of a frozen configuration: what it means and which values it may take.

`number`, `choice` and `switch` make the fields of a dataclass; `checked`, `parsed` and `explained`
work on such a field. All refusals have one form: the name, what was expected, what came, what is
usual.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import typing
from collections.abc import Callable, Mapping
from typing import Any

_KIND_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "a JSON object with text keys",
}
_LIST_WORDS: dict[type, str] = {
    int: "a list of whole numbers such as 64,64",
    float: "a list of numbers such as 1,0.5",
}


# Whole numbers up to here are exact as floats too; what counts memory or threads has less room.
_LARGEST_WHOLE = 10**15


def described(help: str, allows: Callable[[Any], bool], expected: str, hint: str) -> dict[str, Any]:
    """The metadata that every field of a checked configuration carries.

    Args:
        help: what the setting means.
        allows: whether a value of the right type may be taken.
        expected: the words for the allowed values, after "must be".
        hint: what is usual or what to do, as a sentence.

    Returns:
        A dictionary for `dataclasses.field(metadata=...)`.
    """
    return {"help": help, "allows": allows, "expected": expected, "hint": hint}


def number(
    default: float | None,
    help: str,
    typical: str,
    *,
    minimum: float,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> Any:
    """A number from minimum (itself not allowed if exclusive) to maximum."""

    def allows(value: float) -> bool:
        return (value > minimum if exclusive else value >= minimum) and value <= maximum

    expected = f"{'>' if exclusive else '>='} {minimum:g}"
    if not math.isinf(maximum):
        expected = f"in {'(' if exclusive else '['}{minimum:g}, {maximum:g}]"
    if default is None:
        expected += " or none"
    metadata = described(help, allows, expected, f"Typical values are {typical}.")
    return dataclasses.field(default=default, metadata=metadata)


def choice(default: str, help: str, meanings: Mapping[str, str]) -> Any:
    """One of a few words, each with its meaning."""
    explained = "; ".join(f"{word}: {meaning}" for word, meaning in meanings.items())
    expected = " or ".join(repr(word) for word in meanings)
    metadata = described(f"{help} ({explained}).", meanings.__contains__, expected, "")
    return dataclasses.field(default=default, metadata=metadata)


def switch(default: bool, help: str) -> Any:
    """True or false."""
    metadata = described(help, lambda value: True, _KIND_WORDS[bool], "")
    return dataclasses.field(default=default, metadata=metadata)


def checked(field: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """The value in the plain Python type of its field, refused if the field does not allow it.

    Args:
        field: a field made by this module.
        hint: its resolved type: bool, int, float, str, tuple[int, ...], tuple[float, ...], a
            dictionary, or one of these or None.
        value: any value; numpy's numbers are taken, booleans as numbers are not.

    Raises:
        TypeError: a value of another type.
        ValueError: a value that is not allowed, or a number that is not finite.
    """
    kind, may_be_none = kind_of(hint)
    element = _element_kind(hint)
    if value is None and may_be_none:
        return None
    if not _is_of_kind(value, kind, element):
        raise TypeError(refusal(field, value, _kind_words(hint)))
    if kind is float and not _is_finite(value):
        raise ValueError(refusal(field, value, "a finite number"))
    if kind is int and abs(value) > _LARGEST_WHOLE:
        raise ValueError(refusal(field, value, f"at most {_LARGEST_WHOLE:.0e}"))
    try:
        plain = tuple(element(entry) for entry in value) if kind is tuple else kind(value)
    except OverflowError:
        raise ValueError(refusal(field, value, "finite numbers")) from None
    if not field.metadata["allows"](plain):
        raise ValueError(refusal(field, plain, field.metadata["expected"]))
    return plain


def parsed(field: dataclasses.Field[Any], hint: Any, text: str) -> Any:
    """The value that a text on a command line means; its range is left to `checked`.

    Whole numbers may be written 1e6 or 1_000_000, lists 64,64 or 1,0.5, dictionaries as JSON, no
    value none.

    Raises:
        ValueError: the text means no value of this type.
    """
    kind, may_be_none = kind_of(hint)
    text = text.strip()
    if may_be_none and text.lower() == "none":
        return None
    try:
        if kind is tuple:
            read = float if _element_kind(hint) is float else _whole_number
            return tuple(read(entry) for entry in text.split(",") if entry.strip())
        readers: dict[type, Callable[[str], Any]] = {
            bool: _truth,
            int: _whole_number,
            float: float,
            dict: _json_object,
        }
        return readers.get(kind, str)(text)
    except ValueError:
        raise ValueError(refusal(field, text, _kind_words(hint))) from None


def explained(field: dataclasses.Field[Any]) -> str:
    """What a setting means and what it is by default, as one line of text."""
    if field.default is dataclasses.MISSING:
        return str(field.metadata["help"])
    return f"{field.metadata['help']} Default {shown(field.default)}."


def shown(value: Any) -> str:
    """A setting's value as a command line takes it.

    >>> shown((64, 64)), shown(None), shown(True), shown(1e-3), shown({"a": 1})
    ('64,64', 'none', 'true', '0.001', '{"a": 1}')
    """
    if isinstance(value, (tuple, list)):
        return ",".join(str(size) for size in value)
    if isinstance(value, (dict, bool)):
        return json.dumps(value)
    return "none" if value is None else str(value)


def kind_of(hint: Any) -> tuple[type, bool]:
    """The plain type of a type hint, and whether None is allowed too.

    >>> kind_of(float | None), kind_of(tuple[int, ...])
    ((<class 'float'>, True), (<class 'tuple'>, False))
    """
    arguments = typing.get_args(hint)
    may_be_none = type(None) in arguments
    if may_be_none:
        hint = next(argument for argument in arguments if argument is not type(None))
    return typing.get_origin(hint) or hint, may_be_none


def refusal(field: dataclasses.Field[Any], value: Any, expected: str) -> str:
    """The sentence that refuses a value."""
    try:
        given = f"{value!r:.200}"
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits.
        given = "a number of thousands of digits"
    return f"{field.name} must be {expected}, got {given}. {field.metadata['hint']}".strip()


def _kind_words(hint: Any) -> str:
    kind, may_be_none = kind_of(hint)
    words = _LIST_WORDS[_element_kind(hint)] if kind is tuple else _KIND_WORDS[kind]
    return words + (" or none" if may_be_none else "")


def _element_kind(hint: Any) -> type[int] | type[float]:
    """Whether the list that a hint means, if it means one, is of whole or of any numbers."""
    return float if tuple[float, ...] in (hint, *typing.get_args(hint)) else int


def _is_of_kind(value: Any, kind: type, element: type = int) -> bool:
    if kind in (int, float):
        number_type = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number_type) and not isinstance(value, bool)
    if kind is tuple:
        return isinstance(value, (tuple, list)) and all(
            _is_of_kind(entry, element) for entry in value
        )
    if kind is dict:
        return isinstance(value, dict) and _is_json(value)
    return isinstance(value, kind)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number beyond all floats.
        return False


def _is_json(value: dict[Any, Any]) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise
        return int(value)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(text) from None
    if not _is_of_kind(value, dict):
        raise ValueError(text)
    return dict(value)
