"""Says whether two runs logged the same numbers, and where they part if they did not.

python -m trpo_tf.compare_runs runs/here runs/there

Compares all columns of progress.csv but the clocks, and lists what differs of what bits depend on:
settings, versions, processor, thread counts. Cells have nine digits, which tell all float32 numbers
apart; a run in float64 may part below them. Columns that one run lacks are named and not compared.
Exit status: 0 equal, 1 parted, 2 not to be compared.
Nothing is written; the directories may come from two machines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from trpo_tf import command_line
from trpo_tf.printable import printable
from trpo_tf.run_comparison import Comparison, Difference, compare_runs

FLAGS = command_line.new_flags()
OPERANDS = ("<run directory>", "<run directory>")
PARTED = 1
UNUSABLE = 2


def main(_: Any, first: str, second: str) -> None:
    """Runs the command line on two run directories; ends with status 1 where they part."""
    comparison = compare_runs(first, second)
    print("\n".join(map(printable, report(comparison))), flush=True)
    if comparison.parting is not None:
        sys.exit(PARTED)


def report(comparison: Comparison) -> Iterator[str]:
    """What a comparison found, in lines.

    >>> differences = [Difference("setting seed", 1, 2)]
    >>> list(report(Comparison(differences, [], None, 6, 30)))
    ['differs: setting seed: 1 | 2', 'equal: 6 rows of 30 columns']
    """
    for difference in comparison.conditions:
        yield f"differs: {_line(difference)}"
    for what, first, _ in comparison.columns:
        owner = "second" if first is None else "first"
        yield f"not compared: column {what}, which only the {owner} run has"
    rows = f"{comparison.num_rows} rows of {comparison.num_columns} columns"
    parting = comparison.parting
    if parting is None:
        yield f"equal: {rows}"
    elif parting.first is None or parting.second is None:
        shorter = "first" if parting.first is None else "second"
        yield f"parted at update {parting.update}, which the {shorter} run lacks ({rows} are equal)"
    else:
        cells = f"{parting.first} | {parting.second}"
        yield (
            f"parted at update {parting.update}, column {parting.column}: {cells} "
            f"({rows} are equal)"
        )


def _line(difference: Difference) -> str:
    return f"{difference.what}: {_shown(difference.first)} | {_shown(difference.second)}"


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS, operands=OPERANDS, failure=UNUSABLE))
