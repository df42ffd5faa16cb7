"""What every part of the benchmark needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from experiments.speed.results import Table
from experiments.speed.sides import Pythons


@dataclasses.dataclass(frozen=True)
class Bench:
    """The sides, where results go, and how often each side is measured.

    Attributes:
        pythons: of the sides.
        results: has a row a measurement.
        floor: has a row an update of ours.
        alternations: how often each side has its turn.
        run: directory of the run whose trained policy chooses actions.
    """

    pythons: Pythons
    results: Table
    floor: Table
    alternations: int
    run: str

    def is_done(self, part: str, case: str, sides: Iterable[str], alternation: int) -> bool:
        """Whether all sides have had this turn; what was left of one that broke off is removed.

        So that a ratio is formed of what was measured in one run, one side right after the other.
        """
        there = [self.results.has(part, case, side, alternation) for side in sides]
        if not all(there):
            self.results.remove(part=part, case=case, alternation=alternation)
            self.floor.remove(case=case, alternation=alternation)
        return all(there)

    def add_speed(self, key: dict[str, Any], result: dict[str, float], prefix: str = "") -> None:
        """Adds steps a second, and what else is known of them.

        Args:
            key: of the row.
            result: steps and seconds, and perhaps processor_seconds, collecting_seconds, peak_mib.
            prefix: of the names of seconds.
        """
        seconds = result[f"{prefix}seconds"]
        row: dict[str, Any] = {"value": result["steps"] / seconds, "unit": "steps/s"}
        if f"{prefix}processor_seconds" in result:
            row["processors_used"] = result[f"{prefix}processor_seconds"] / seconds
        if "collecting_seconds" in result:
            row["collecting_share"] = result["collecting_seconds"] / seconds
        if "peak_mib" in result:
            row["peak_mib"] = result["peak_mib"]
        self.results.add(**key, **row)
