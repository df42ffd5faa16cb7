"""Ten thousand random policy steps, also hostile ones, each judged apart in float64.

    python -m experiments.faults.updates --updates=10000

Over the compiled combinations of tests/random_updates.py, of which tests/test_update_invariants.py
makes a few hundred. `updates.csv` gets a row a combination once all of its updates are made; what
has its row is left out, so the command can be stopped and started again; rows of another revision
of the modules behind a step count for nothing. A row names the seed, and its first violation the
update, by which both can be made again. The exit status is 1 if there was any violation, or if a
combination had less than a third of its steps accepted, which would prove little.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from pathlib import Path

from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from random_updates import COMBINATIONS, VIOLATIONS, Combination, RandomUpdates

from experiments.campaign import grid
from experiments.campaign.process import ROOT
from experiments.campaign.revision import code_revision, modules_behind
from experiments.faults.revisions import by_revision
from trpo_tf.types import StepStatus

_TESTS = ROOT / "tests"
_UPDATES = flags.DEFINE_integer("updates", 10_000, "Of all combinations together.")
_SEED = flags.DEFINE_integer("seed", 0, "Of everything that is random.")
_OUT = flags.DEFINE_string("out", str(Path(__file__).with_name("updates.csv")), "The table.")

_STATUSES = [status.name.lower() for status in StepStatus if status is not StepStatus.ACCEPTED]
COLUMNS = (
    *(
        "revision",
        "combination",
        "seed",
        "tried",
        "accepted",
        "refused",
        *VIOLATIONS,
        "first_violation",
    ),
    *("largest_kl_share", *_STATUSES, "seconds"),
)


def run_combination(combination: Combination, seed: int, num_updates: int) -> dict[str, object]:
    """Makes the updates of one combination; returns its row of the table, without the revision."""
    began = time.monotonic()
    updates = RandomUpdates(combination, seed)
    counts: Counter[str] = Counter()
    largest, first = 0.0, ""
    for number in range(num_updates):
        verdict = updates.update(number)
        found = [name for name in VIOLATIONS if getattr(verdict, name)]
        if found and not first:
            first = f"{number}: {' '.join(found)}"
        counts.update([*found, verdict.status.name.lower()])
        largest = max(largest, verdict.kl_share)
    return {
        "combination": combination.name,
        "seed": seed,
        "tried": num_updates,
        "refused": num_updates - counts["accepted"],
        "first_violation": first,
        "largest_kl_share": f"{largest:.5f}",
        "seconds": f"{time.monotonic() - began:.0f}",
        **{name: counts[name] for name in ("accepted", *VIOLATIONS, *_STATUSES)},
    }


def main(_: list[str]) -> None:
    path = Path(_OUT.value)
    revision = code_revision(modules_behind(_TESTS / "random_updates.py", _TESTS / "zoo.py"))
    per_combination = -(-_UPDATES.value // len(COMBINATIONS))
    for combination in COMBINATIONS:
        key = combination.name, str(_SEED.value), str(per_combination)
        rows = by_revision(grid.read(path)).get(revision, [])
        if key in [(row["combination"], row["seed"], row["tried"]) for row in rows]:
            continue
        row = run_combination(combination, _SEED.value, per_combination) | {"revision": revision}
        print(row, flush=True)
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
    rows = by_revision(grid.read(path)).get(revision, [])
    totals = {
        name: sum(int(row[name]) for row in rows)
        for name in ("tried", "accepted", "refused", *VIOLATIONS, *_STATUSES)
    }
    print(totals)
    are_enough = all(3 * int(row["accepted"]) >= int(row["tried"]) for row in rows)
    if any(totals[name] for name in VIOLATIONS) or not are_enough:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
