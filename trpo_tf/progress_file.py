"""A table of numbers that grows by whole rows: `progress.csv` of a run."""

from __future__ import annotations

import csv
import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from trpo_tf import atomic_files

KEY = "update"


class ProgressFile:
    """Appends rows to a CSV file; each row is handed to the system before the call returns.

    The columns are those of the file's first line: a file that is continued keeps its own, missing
    values stay empty and values without a column are left out.

    Args:
        path: the file. A new one is made unless it is continued.
        columns: names; the first is `update`, a number that grows from row to row.
        after: continue the file behind the row of this update; later rows, and a line that a kill
            cut short, are removed in one step. None: the file must not exist yet.

    Raises:
        FileExistsError: `after` is None and the file exists.
        ValueError: the file that is to be continued is no progress file.
        OSError: it cannot be written; names the path.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "progress.csv"
    >>> with ProgressFile(path, ["update", "kl"]) as file:
    ...     file.append({"update": 1, "kl": 0.01})
    ...     file.append({"update": 2, "kl": None})
    >>> with ProgressFile(path, ["update", "kl"], after=1) as file:
    ...     file.append({"update": 2, "kl": 0.02})
    >>> read_progress(path)["kl"].tolist()
    [0.01, 0.02]
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], after: int | None = None
    ) -> None:
        self.path = Path(path)
        self.columns = list(columns)
        if after is None:
            flags = os.O_EXCL
        else:
            self._cut(after)
            flags = 0
        # Opened for appending: a row goes to the end in one system call.
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | flags
        self._descriptor = os.open(self.path, mode, 0o666)
        if os.fstat(self._descriptor).st_size == 0:
            self._write(self.columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds one row; None and absent values stay empty.

        Raises:
            OSError: it cannot be written; names the path.
        """
        self._write([format_cell(row.get(name)) for name in self.columns])

    def sync(self) -> None:
        """Brings all rows to the disk, where a power failure leaves them."""
        with atomic_files.errors_naming(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Ends writing; calling it again does nothing more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, cells: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        line = text.getvalue().encode()
        with atomic_files.errors_naming(self.path):
            written = os.write(self._descriptor, line)
            if written < len(line):
                # A full disk takes a part; the next write says why.
                os.write(self._descriptor, line[written:])

    def _cut(self, after: int) -> None:
        if not os.path.lexists(self.path):
            return
        header, rows = read_cells(self.path)
        if not header:
            self.path.unlink()
            return
        self.columns = header
        key = header.index(KEY)
        kept: list[list[str]] = []
        for row in rows:
            update = _number(row[key])
            if update <= after and (not kept or update > _number(kept[-1][key])):
                kept.append(row)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *kept])
        atomic_files.atomic_write_text(self.path, text.getvalue())


def read_progress(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the columns of a progress file.

    A last line that a kill cut short is left out; so is, with a warning, all that follows a
    damaged line.

    Args:
        path: a `progress.csv`.

    Returns:
        Columns by name, in the file's order, all of one length: float64 with NaN for empty cells,
        or texts where a column holds any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no progress file.
    """
    header, rows = read_cells(path)
    return {name: _column([row[index] for row in rows]) for index, name in enumerate(header)}


def has_rows(path: str | os.PathLike[str]) -> bool:
    """Whether anything stands behind the names of the columns, damaged lines included.

    >>> has_rows("/nowhere/progress.csv")
    False
    """
    if not os.path.lexists(path):
        return False
    _, _, behind = Path(path).read_bytes().partition(b"\n")
    return bool(behind)


def format_cell(value: Any) -> str:
    """A value as it stands in the file: nine digits, so float32 numbers come back exactly.

    >>> [format_cell(value) for value in (None, True, np.int64(7), 0.1 + 0.2, float("nan"), "x")]
    ['', '1', '7', '0.3', 'nan', 'x']
    """
    if value is None:
        return ""
    if isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def read_cells(path: str | os.PathLike[str]) -> tuple[list[str], list[list[str]]]:
    """Reads a progress file's texts as they stand in it, for comparisons of bits.

    Returns:
        Names of the columns and the whole rows, as `read_progress` takes them; both empty where
        not even the names were written to their end.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no progress file.
    """
    content = Path(path).read_bytes()
    lines = content.split(b"\n")
    # What stands behind the last line break was cut short.
    lines.pop()
    try:
        parsed = list(csv.reader(line.decode() for line in lines[:1]))
    except (UnicodeDecodeError, csv.Error):
        parsed = []
    if not lines and len(content) < 10_000:
        return [], []
    header = parsed[0] if parsed else []
    if KEY not in header or len(set(header)) < len(header):
        raise ValueError(
            f"{path} is no progress file: its first line must name the columns, {KEY!r} among "
            "them. Move it away or restore it."
        )
    rows: list[list[str]] = []
    for number, line in enumerate(lines[1:], start=2):
        row = _row(line, header)
        if row is None:
            warnings.warn(
                f"Line {number} of {path} is damaged; it and what follows are left out.",
                RuntimeWarning,
                stacklevel=3,
            )
            break
        rows.append(row)
    return header, rows


def _row(line: bytes, header: list[str]) -> list[str] | None:
    try:
        (row,) = csv.reader([line.decode()])
    except (UnicodeDecodeError, ValueError, csv.Error):
        return None
    is_whole = len(row) == len(header) and not math.isnan(_number(row[header.index(KEY)]))
    return row if is_whole else None


def _column(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells], np.float64)
    except ValueError:
        return np.array(cells, dtype=str)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
