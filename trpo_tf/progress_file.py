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
# A row takes some 400 bytes: millions of updates.
_MOST_BYTES = 2**32
_MOST_HEADER_BYTES = 2**20


class ProgressFile:
    """Appends rows to a CSV file; each row is handed to the system before the call returns.

    The columns are those of the file's first line: a file that is continued keeps its own, missing
    values stay empty and values without a column are left out.

    Args:
        path: the file. A new one is made unless it is continued.
        columns: names; the first is `update`, which counts from 1, a row each.
        after: continue the file behind the row of this update; later rows, and a line that a kill
            cut short, are removed in one step. If rows up to this one are missing, or the file is,
            a warning says how many, and what was there is kept beside it as
            `damaged-<name>`. Unequal rows of one update are missing too: nothing tells which is
            its own. None: the file must not exist yet.

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
            atomic_files.fsync_directory(self.path.parent)

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
        is_there = os.path.lexists(self.path)
        header, rows = read_cells(self.path) if is_there else ([], [])
        self.columns = header or self.columns
        claims: dict[float, list[list[str]]] = {}
        for row in rows:
            update = _number(row[header.index(KEY)])
            if 1 <= update <= after and update.is_integer():
                claims.setdefault(update, []).append(row)
        kept = {
            update: claiming[0]
            for update, claiming in claims.items()
            if all(row == claiming[0] for row in claiming)
        }
        missing = after - len(kept)
        if missing:
            self._warn_of_missing(missing, after, is_there)
        if is_there:
            text = io.StringIO()
            lines = [self.columns, *(kept[update] for update in sorted(kept))]
            csv.writer(text, lineterminator="\n").writerows(lines)
            atomic_files.atomic_write_text(self.path, text.getvalue())

    def _warn_of_missing(self, missing: int, after: int, is_there: bool) -> None:
        """Every row is on the disk before its checkpoint is, so a gap is damage, never a kill."""
        what_was_there = "the file is gone"
        if is_there:
            aside = self.path.with_name(f"damaged-{self.path.name}")
            atomic_files.atomic_write_bytes(aside, self.path.read_bytes())
            what_was_there = f"what was there is kept as {aside.name}"
        warnings.warn(
            f"{self.path} lacks {missing} of its {after} rows; {what_was_there}.",
            RuntimeWarning,
            stacklevel=4,
        )


def read_progress(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the columns of a progress file.

    A last line that a kill cut short is left out; so are, with a warning, damaged lines.

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
    with Path(path).open("rb") as file:
        _, _, behind = file.read(_MOST_HEADER_BYTES).partition(b"\n")
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
    if os.stat(path).st_size > _MOST_BYTES:
        raise ValueError(f"{path} is no progress file: it has more than {_MOST_BYTES} bytes.")
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
    rows = [_row(line, header) for line in lines[1:]]
    damaged = [number for number, row in enumerate(rows, start=2) if row is None]
    if damaged:
        others = f" and {len(damaged) - 1} more" if damaged[1:] else ""
        warnings.warn(
            f"Line {damaged[0]}{others} of {path} cannot be read and is left out.",
            RuntimeWarning,
            stacklevel=3,
        )
    return header, [row for row in rows if row is not None]


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
