"""The table of the campaign, one a revision of the package.

python -m experiments.faults.report [--messages]
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import read
from experiments.faults.outcome import COUNTS
from experiments.faults.revisions import by_revision

_RESULTS = flags.DEFINE_string(
    "results", str(Path(__file__).with_name("results.csv")), "CSV file, one row a trial."
)
_MESSAGES = flags.DEFINE_bool("messages", False, "Show what each case of environments says.")
_COUNTS = (*COUNTS, "inside_writes")
_COLUMNS = ("part", "tried", *_COUNTS)


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of Markdown: a row a part, and one of all together; of one revision."""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    lines = [_line(_COLUMNS).replace("_", " "), _line(["---"] * len(_COLUMNS))]
    for name in (*parts, "all"):
        of_part = [row for row in rows if name in (row["part"], "all")]
        sums = [sum(int(row[count]) for row in of_part) for count in _COUNTS]
        lines.append(_line([name, len(of_part), *sums]))
    return lines


def messages(rows: list[dict[str, str]], part: str) -> list[str]:
    """Lines of Markdown: what a training said in each case of a part."""
    lines = [_line(["case", "what happens", "message"]), _line(["---"] * 3)]
    for row in rows:
        if row["part"] == part and row["trial"] == "0":
            what = "stops" if row["message"].startswith("error: ") else "goes on"
            lines.append(_line([row["case"], what, row["message"].removeprefix("error: ")]))
    return lines


def _line(cells: object) -> str:
    assert isinstance(cells, list | tuple)
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def main(_: list[str]) -> None:
    for revision, rows in by_revision(read(Path(_RESULTS.value))).items():
        print(f"Revision {revision}:", "", *table(rows), "", sep="\n")
        for row in rows:
            if row["found"]:
                print(f"{row['part']}, {row['case']}, {row['trial']}: {row['found']}")
        if _MESSAGES.value:
            print(*messages(rows, "environments"), "", *messages(rows, "disk"), "", sep="\n")


if __name__ == "__main__":
    app.run(main)
