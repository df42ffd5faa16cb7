"""The measured values: a CSV file that grows by a row a measurement, and is gone on with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, FLOOR, VERSIONS, RATIOS = (
    HERE / f"{name}.csv" for name in ("results", "floor", "versions", "ratios")
)
KEY = ("part", "case", "side", "alternation")
COLUMNS = (*KEY, "value", "unit", "processors_used", "peak_mib", "collecting_share", "revision")
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
    "revision",
)
FLOOR_KEY = ("case", "alternation")


class Table:
    """Rows of a CSV file by key.

    Args:
        path: of the file; rows that it holds are kept.
        columns: of a new file.
        key: the columns that tell rows apart.
        common: columns that have the same value in every new row.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        key: Sequence[str],
        common: Mapping[str, Any] | None = None,
    ) -> None:
        self._path, self._columns, self._key = path, columns, key
        self._common = dict(common or {})
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
            writer.writerow({**shown, **self._common})
        self._keys.add(self._key_of(row))
        print(*shown.values(), flush=True)

    def remove(self, **values: Any) -> None:
        """Takes out the rows that have these values."""
        wanted = {name: str(value) for name, value in values.items()}
        rows = read(self._path)
        kept = [row for row in rows if wanted.items() - row.items()]
        if len(kept) < len(rows):
            write(self._path, self._columns, kept)
            self._keys = {self._key_of(row) for row in kept}

    def _key_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self._key)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Makes a CSV file anew."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
