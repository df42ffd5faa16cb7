"""What was raised and where, in one line."""

from __future__ import annotations

import re
import traceback

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')


def what_and_where(error: BaseException) -> tuple[str, str]:
    """The class with the message, and the innermost place in the source.

    Of what Ray brings from another process (a `RayTaskError`, whose own message is a page), what
    was raised there, and where.

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
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}", f"{frame.filename}:{frame.lineno}, in {frame.name}"
