"""Where two runs part that should be the same: the first unequal cell, and what differed before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trpo_tf.metrics import WALL_CLOCK_COLUMNS
from trpo_tf.progress_file import KEY, read_cells
from trpo_tf.run_directory import check_entries
from trpo_tf.run_record import RunRecord, read_record
from trpo_tf.space_json import space_to_json

# What a session notes that no bit depends on.
_INCIDENTAL = ("started", "command_line")


class Difference(NamedTuple):
    """Something that differs; an absent value is None.

    Attributes:
        what: its name.
        first: in the first run.
        second: in the second one.
    """

    what: str
    first: Any
    second: Any


class Parting(NamedTuple):
    """The first cell of progress.csv that differs.

    Attributes:
        update: of the row, as the run that has it says.
        column: the cell's; of several the leftmost.
        first: its text in the first run; None where that run has no such row.
        second: the same of the second one.
    """

    update: str
    column: str
    first: str | None
    second: str | None


class Comparison(NamedTuple):
    """What two run directories have in common.

    Attributes:
        conditions: differences of what bits depend on: settings, spaces, versions, machine.
        columns: differences of the columns' names; what one run lacks is not compared.
        parting: None where all common rows and columns are equal, and both runs as long.
        num_rows: rows that are equal from the beginning.
        num_columns: columns that were compared.
    """

    conditions: list[Difference]
    columns: list[Difference]
    parting: Parting | None
    num_rows: int
    num_columns: int


def compare_runs(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Comparison:
    """Compares progress.csv, without clocks, and config.json of two run directories.

    Cells are compared as they are written: nine digits, which tell all float32 numbers apart.
    Reads only; the runs may still be under way.

    Raises:
        FileNotFoundError: a directory holds no run, or no progress yet.
        ValueError: a file is damaged, a link, or the runs have no rows; names it.
    """
    records = [_record(Path(path)) for path in (first, second)]
    tables = [_progress(Path(path)) for path in (first, second)]
    headers = [header for header, _ in tables]
    common = [name for name in headers[0] if name in headers[1] and name not in WALL_CLOCK_COLUMNS]
    rows = [
        [[row[header.index(name)] for name in common] for row in table] for header, table in tables
    ]
    return Comparison(
        list(_differences("", *(_conditions(record) for record in records))),
        list(_missing_columns(*headers)),
        *_part(common, *rows),
        len(common),
    )


def _record(path: Path) -> RunRecord:
    check_entries(path)
    return read_record(path / "config.json")


def _progress(path: Path) -> tuple[list[str], list[list[str]]]:
    file = path / "progress.csv"
    if not file.exists():
        raise FileNotFoundError(f"{path} holds no progress yet (progress.csv is missing).")
    header, rows = read_cells(file)
    if not rows:
        raise ValueError(f"{file} has no rows yet. Train for longer.")
    return header, rows


def _conditions(record: RunRecord) -> dict[str, Any]:
    return {
        "setting": record.config.to_json(),
        "observation_space": space_to_json(record.observation_space),
        "action_space": space_to_json(record.action_space),
        "session": {
            str(number): {
                key: _by_name(value) for key, value in session.items() if key not in _INCIDENTAL
            }
            for number, session in enumerate(record.sessions, start=1)
        },
    }


def _by_name(value: Any) -> Any:
    """Lists of names, of instruction sets say, so that single ones can differ."""
    return dict.fromkeys(map(str, value), "present") if isinstance(value, list) else value


def _differences(name: str, first: Any, second: Any) -> Iterator[Difference]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{name} {key}".strip()
            yield from _differences(inner, first.get(key), second.get(key))
    elif first != second:
        yield Difference(name, first, second)


def _missing_columns(first: list[str], second: list[str]) -> Iterator[Difference]:
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second:
            yield Difference(
                name, name if name in first else None, name if name in second else None
            )


def _part(
    columns: list[str], first: list[list[str]], second: list[list[str]]
) -> tuple[Parting | None, int]:
    key = columns.index(KEY)
    for number, (row, other) in enumerate(zip(first, second, strict=False)):
        for column, cell, other_cell in zip(columns, row, other, strict=True):
            if cell != other_cell:
                return Parting(row[key], column, cell, other_cell), number
    number = min(len(first), len(second))
    if len(first) > number:
        return Parting(first[number][key], KEY, first[number][key], None), number
    if len(second) > number:
        return Parting(second[number][key], KEY, None, second[number][key]), number
    return None, number
