"""Files that a stranger may have put there, read without hanging, following or filling memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_plain_file(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Reads a file if it is a plain one of at most so many bytes: no link, no pipe, no device.

    Raises:
        ValueError: it is no plain file, or larger; names it.
        OSError: there is no such file, or it must not be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers"
    >>> _ = path.write_text("1 2 3")
    >>> read_plain_file(path, most_bytes=5)
    b'1 2 3'
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no plain file.")
    if status.st_size > most_bytes:
        raise ValueError(f"{path} has {status.st_size} bytes, more than {most_bytes}.")
    return Path(path).read_bytes()
