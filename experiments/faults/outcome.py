"""What one trial of the campaign is booked as."""

from __future__ import annotations

import dataclasses
import platform
import sysconfig

from experiments.campaign.process import ROOT

_MOST_CHARACTERS = 1000
_OF_THIS_MACHINE = {
    f"{ROOT}/": "",
    f"{sysconfig.get_path('purelib')}/": "",
    f" on {platform.node()})": " on host)",
}
COUNTS = ("survived", "lost", "doubled", "wrong", "silent_restarts", "orphans", "violations")


@dataclasses.dataclass
class Outcome:
    """Counts of one trial, and what was seen; a fault that is found is noted and ends nothing.

    Attributes:
        lost: updates or transitions that are gone beyond what may be.
        doubled: that came twice.
        wrong: files or numbers that are not what they must be.
        silent_restarts: runs that began anew without a word.
        orphans: processes that outlived the training.
        violations: of anything else that was promised (a time-out, an exit status, a message).
        inside_writes: kills that came while a checkpoint or an export was being written.
        message: of the training, or what was found.
        note: further figures.
    """

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    silent_restarts: int = 0
    orphans: int = 0
    violations: int = 0
    inside_writes: int = 0
    message: str = ""
    note: str = ""
    found: list[str] = dataclasses.field(default_factory=list)

    def book(self, kind: str, words: str, count: int = 1) -> None:
        """Adds to one of the counts, with words that say why; a count of 0 adds nothing."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.found.append(f"{kind}: {words}")

    def require(self, is_so: bool, kind: str, words: str) -> None:
        """Books what is not so."""
        self.book(kind, words, int(not is_so))

    @property
    def survived(self) -> int:
        """1 if nothing was found, else 0."""
        return int(not self.found)

    def row(self) -> dict[str, int | str]:
        """As the results have it."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {
            **counts,
            "inside_writes": self.inside_writes,
            "message": _plain(self.message),
            "note": self.note,
            "found": _plain("; ".join(self.found)),
        }


def _plain(text: str) -> str:
    """One line that is the same on every machine."""
    line = " ".join(text.split())
    for here, anywhere in _OF_THIS_MACHINE.items():
        line = line.replace(here, anywhere)
    return line[:_MOST_CHARACTERS]
