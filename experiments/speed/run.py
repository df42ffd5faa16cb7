"""trpo_tf beside sb3-contrib's TRPO and Tianshou's: the whole benchmark or parts of it.

    python -m experiments.speed.run
    python -m experiments.speed.run --parts=update,value --alternations=5

The first run makes the peers' virtual environment (`--peers`). Every part lets the sides take
turns; `results.csv`, `floor.csv` and `versions.csv` hold what was measured, and what they hold is
not measured again: delete them to begin anew. Ends with the tables and the picture of `report`.
"""

from __future__ import annotations

from absl import app, flags

from experiments.campaign.revision import code_revision
from experiments.speed import calls, collection, end_to_end, report, start_up
from experiments.speed.bench import Bench
from experiments.speed.results import (
    COLUMNS,
    FLOOR,
    FLOOR_COLUMNS,
    FLOOR_KEY,
    KEY,
    RESULTS,
    VERSIONS,
    Table,
)
from experiments.speed.sides import Pythons

_PARTS = {
    "update": calls.update,
    "value": calls.value,
    "collection": collection.collection,
    "end_to_end": end_to_end.end_to_end,
    "start_up": start_up.start_up,
    "memory": end_to_end.own_settings,
}
_CHOSEN = flags.DEFINE_list("parts", list(_PARTS), "Which parts are measured.")
_ALTERNATIONS = flags.DEFINE_integer("alternations", 5, "How often each side is measured.")
_PEERS = flags.DEFINE_string("peers", "runs/peers", "Virtual environment of the peers.")
_RUN = flags.DEFINE_string("run", "runs/asynchrony", "Run of a trained policy; made if missing.")


def main(_: list[str]) -> None:
    unknown = set(_CHOSEN.value) - set(_PARTS)
    if unknown:
        raise ValueError(f"--parts must be of {', '.join(_PARTS)}, got {', '.join(unknown)}.")
    pythons = Pythons(_PEERS.value)
    versions = Table(VERSIONS, ("side", "package", "version"), ("side", "package", "version"))
    for row in pythons.versions():
        versions.add(**row)
    common = {"revision": code_revision()}
    bench = Bench(
        pythons,
        Table(RESULTS, COLUMNS, KEY, common),
        Table(FLOOR, FLOOR_COLUMNS, FLOOR_KEY, common),
        _ALTERNATIONS.value,
        _RUN.value,
    )
    for name in _CHOSEN.value:
        _PARTS[name](bench)
    report.main()


if __name__ == "__main__":
    app.run(main)
