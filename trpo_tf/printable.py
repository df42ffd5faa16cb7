"""A stranger's words on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text whose control characters are spelled out, so that a terminal only shows it.

    >>> print(printable("seed \x1b[2J\u202e é"))
    seed \x1b[2J\u202e é
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
