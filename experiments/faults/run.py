"""The fault campaign: everything around a training is broken, again and again, and booked.

    python -m experiments.faults.run [--parts=kills,workers]

Each trial adds a row to `results.csv`; what is there of the same revision of the package is not
done again, so the command may be stopped at any time and goes on.
`python -m experiments.faults.report` shows the table.
"""

from __future__ import annotations

import functools
import secrets
import traceback
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

from experiments.campaign.grid import Job, Tables, run_jobs
from experiments.campaign.revision import PACKAGE
from experiments.faults import corruption, disk, environments, identical, kills, workers
from experiments.faults.outcome import Outcome

Trial = Callable[[str, int, int, Path], Outcome]
PARTS: dict[str, Trial] = {
    "kills": kills.trial,
    "corruption": corruption.trial,
    "disk": disk.trial,
    "workers": workers.trial,
    "signals": workers.trial,
    "environments": environments.trial,
    "identical": identical.trial,
}

_PARTS = flags.DEFINE_list(
    "parts",
    list(PARTS),
    f"Of {', '.join(PARTS)}.",
)
_KILLS = flags.DEFINE_integer("kills", 300, "SIGKILLs of a training, all its cases together.")
_WORKERS = flags.DEFINE_integer("workers", 200, "Faults of workers, all cases together.")
_SIGNALS = flags.DEFINE_integer("signals", 40, "Requests to end, all cases together.")
_CORRUPTIONS = flags.DEFINE_integer("corruptions", 60, "Damaged runs, all cases together.")
_IDENTICAL = flags.DEFINE_integer("identical", 12, "Chains of kills that must end alike.")
_CASES = flags.DEFINE_list("cases", None, "Only cases that have one of these in their name.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments, the places and the victims.")
_RUNS = flags.DEFINE_string("runs", "runs/faults", "Where the runs are made and removed.")
_RESULTS = flags.DEFINE_string(
    "results", str(Path(__file__).with_name("results.csv")), "CSV file, one row a trial."
)


def main(_: list[str]) -> None:
    trials = {
        "kills": (list(kills.CASES), _KILLS.value),
        "corruption": (list(corruption.CASES), _CORRUPTIONS.value),
        "workers": (list(workers.CASES), _WORKERS.value),
        "signals": (list(workers.SIGNALS), _SIGNALS.value),
        "identical": (list(identical.CASES), _IDENTICAL.value),
        "environments": (list(environments.CASES), len(environments.CASES)),
    }
    if "disk" in _PARTS.value:
        cases = disk.possible_cases()
        trials["disk"] = cases, len(cases)
    jobs = [
        Job({"part": part, "case": cases[index % len(cases)], "trial": index // len(cases)}, {})
        for part in _PARTS.value
        for cases, count in [trials[part]]
        for index in range(count)
    ]
    wanted = [job for job in jobs if _is_wanted(job.key["case"])]
    results, runs = Path(_RESULTS.value).absolute(), Path(_RUNS.value).absolute()
    run = functools.partial(_run_one, results=results.name, runs=runs, seed=_SEED.value)
    run_jobs(wanted, run, results.parent, results.name, at_once=1, code=PACKAGE, anew=True)


def _is_wanted(case: str) -> bool:
    return _CASES.value is None or any(name in case for name in _CASES.value)


def _run_one(job: Job, results: str, runs: Path, seed: int) -> Tables:
    key = job.key
    try:
        outcome = PARTS[key["part"]](key["case"], key["trial"], seed, runs)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is booked)
        # What breaks the trial itself must not be tried again until it goes well.
        outcome = Outcome()
        outcome.book("violations", "".join(traceback.format_exception(error)[-2:]))
        if (runs / key["part"]).exists():
            (runs / key["part"]).rename(runs / f"broken-{secrets.token_hex(4)}")
    return {results: [outcome.row()]}


if __name__ == "__main__":
    app.run(main)
