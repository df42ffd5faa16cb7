"""What was raised and where, in one line."""

from __future__ import annotations

import re
import traceback

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')
_OF_ENVIRONMENT = re.compile(r"Raised by environment (\d+):\n")


def note_environment(error: BaseException, index: int, trace: str) -> None:
    """Notes which environment of several raised an error, and its own traceback, on the error."""
    error.add_note(f"Raised by environment {index}:\n{trace}")


def what_and_where(error: BaseException) -> tuple[str, str]:
    """The class with the message, and the innermost place in the source.

    Of what Ray brings from another process (a `RayTaskError`, whose own message is a page), what
    was raised there, and where; of what `note_environment` has noted, its environment's place.

    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError as error:
    ...     what, where = what_and_where(error)
    >>> what, where.endswith("in <module>")
    ('ZeroDivisionError: division by zero', True)
    """
    cause = getattr(error, "cause", None)
    frames = list(_FRAME.finditer(str(error)))
    if isinstance(cause, Exception) and frames:
        file, line, name = frames[-1].group("file", "line", "name")
        return f"{type(cause).__name__}: {cause}", f"{file}:{line}, in {name}"
    notes = "\n".join(getattr(error, "__notes__", ()))
    environment, frames = _OF_ENVIRONMENT.search(notes), list(_FRAME.finditer(notes))
    if environment and frames:
        file, line, name = frames[-1].group("file", "line", "name")
        where = f"{file}:{line}, in {name}, environment {environment[1]}"
        return f"{type(error).__name__}: {error}", where
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}", f"{frame.filename}:{frame.lineno}, in {frame.name}"
