"""The measured values: a CSV file that grows by a row a measurement, and is gone on with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, FLOOR, VERSIONS = (HERE / f"{name}.csv" for name in ("results", "floor", "versions"))
KEY = ("part", "case", "side", "alternation")
COLUMNS = (*KEY, "value", "unit", "processors_used", "peak_mib", "collecting_share")
FLOOR_COLUMNS = (
    "case",
    "alternation",
    "seconds",
    "accepted",
    "cg_iterations",
    "candidates",
    "gflop",
    "square_gflop_per_second",
    "products_seconds",
)


class Table:
    """Rows of a CSV file by key.

    Args:
        path: of the file; rows that it holds are kept.
        columns: of a new file.
        key: the columns that tell rows apart.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        self._path, self._columns, self._key = path, columns, key
        self._keys = {self._key_of(row) for row in read(path)}

    def has(self, *key: Any) -> bool:
        """Whether there is a row of this key."""
        return tuple(map(str, key)) in self._keys

    def add(self, **row: Any) -> None:
        """Appends a row and prints it; one whose key is there already is left out."""
        if self._key_of(row) in self._keys:
            return
        is_new = not self._path.exists()
        shown = {name: _short(value) for name, value in row.items()}
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            if is_new:
                writer.writeheader()
            writer.writerow(shown)
        self._keys.add(self._key_of(row))
        print(*shown.values(), flush=True)

    def _key_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self._key)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
