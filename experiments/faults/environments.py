"""Environments that go wrong, each by one fault, and what training says to it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults import left_behind
from experiments.faults.outcome import Outcome
from experiments.faults.training import SMALL, train

_TIMEOUT = 5.0
_REFUSED = r"5 updates in a row were refused \(NON_FINITE_ROLLOUT\).*In the last one environment"
_FAILED = r"Faulty-v0 \(seed 0\) failed: "
_PROCESSES = {"vectorization": "async"}
# One worker of both environments; its processes import this package from where it is.
_RAY = {"sampler": "ray", "num_workers": 1}
_INTACT = r"The last checkpoint in run is intact"


class Expected(NamedTuple):
    """What must come of a fault.

    Attributes:
        status: of the training.
        words: a pattern that its one line of error holds, or, if it goes on, each of its warnings;
            None: it says nothing.
        settings: further ones of the run.
    """

    status: int
    words: str | None
    settings: dict[str, Any] = {}  # noqa: RUF012 (never written)


_GOES_ON = Expected(0, None)
# By fault; what comes in processes instead is in _IN_PROCESSES.
_IN_THIS_PROCESS: dict[str, Expected] = {
    "none": _GOES_ON,
    "raise": Expected(1, _FAILED + r"ValueError: the simulator has diverged \(.*faulty_env\.py:"),
    "raise_in_reset": Expected(
        1, _FAILED + r"ValueError: the simulator cannot begin an episode \(.*faulty_env\.py:"
    ),
    "nan_observation": Expected(1, _REFUSED + r" \d gave the observation \[0\] nan"),
    "inf_observation": Expected(1, _REFUSED + r" \d gave the observation \[0\] -?inf"),
    "huge_observation": Expected(1, _REFUSED + r" \d gave the observation \[0\] .*e\+(29|30)"),
    "nan_reward": Expected(1, _REFUSED + r" \d gave the reward nan"),
    "inf_reward": Expected(1, _REFUSED + r" \d gave the reward inf"),
    "minus_inf_reward": Expected(1, _REFUSED + r" \d gave the reward -inf"),
    "huge_reward": Expected(1, _REFUSED + r" \d gave the reward .*e\+"),
    "observation_shape": Expected(
        1, r"environment \d gave an observation that is not of its Box.*of shape \[2\]"
    ),
    "observation_float64": _GOES_ON,
    "observation_int64": _GOES_ON,
    "observation_text": Expected(1, r"environment \d gave an observation .*dtype <U1"),
    "observation_none": Expected(1, r"environment \d gave an observation .*: NoneType"),
    "reward_none": Expected(1, _REFUSED + r" \d gave the reward nan"),
    "reward_text": Expected(1, _FAILED + r".*could not convert string to float: 'x'"),
    "reward_array": Expected(1, _FAILED + r"ValueError: setting an array element"),
    "never_ends": _GOES_ON,
    "slow": _GOES_ON,
}
_IN_PROCESSES: dict[str, Expected] = {
    "raise": Expected(
        1,
        _FAILED + r"ValueError: the simulator has diverged \(.*faulty_env\.py:.*environment \d",
        _PROCESSES,
    ),
    "raise_in_reset": Expected(
        1,
        _FAILED + r"ValueError: the simulator cannot .*faulty_env\.py:.*environment \d",
        _PROCESSES,
    ),
    "nan_reward": Expected(1, _REFUSED + r" \d gave the reward nan", _PROCESSES),
    "observation_shape": Expected(1, _FAILED + r"ValueError: .*shape.*environment \d", _PROCESSES),
    "slow": Expected(0, None, _PROCESSES),
    "hang": Expected(
        1,
        r"processes of Faulty-v0 hang: environment \d \(no answer for 5 s\) of seed \d",
        _PROCESSES,
    ),
}
CASES: dict[str, Expected] = {
    **_IN_THIS_PROCESS,
    **{f"{fault}, processes": expected for fault, expected in _IN_PROCESSES.items()},
    "slow, asynchronous": Expected(0, None, {"sampler": "async"}),
    "slow, ray": Expected(0, None, _RAY),
    "hang, asynchronous": Expected(
        1,
        r"has made no step for \d+ s; its environment hangs at .*faulty_env",
        {"sampler": "async"},
    ),
    "raise, ray": Expected(1, _FAILED + r"ValueError: the simulator has diverged", _RAY),
    # It is replaced each time that it hangs, so the run is short.
    "hang, ray": Expected(
        0, r"after 5 s without a step: Ray worker 0 \(.*It is replaced", {**_RAY, "total_steps": 96}
    ),
    "never_ends, evaluated": Expected(
        1, "episode 0 of an evaluation has not ended after 200,000 steps", {"eval_every": 64}
    ),
}


def settings_of(case: str) -> dict[str, Any]:
    """Of the run of a case."""
    return {
        **SMALL,
        "env": "experiments.faults.faulty_env:Faulty",
        "env_kwargs": {"fault": case.split(",")[0]},
        "total_steps": 512,
        "worker_timeout": _TIMEOUT,
        "logdir": "run",
        "export_dir": "model",
        **CASES[case].settings,
    }


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """Trains in an environment with the fault of the case."""
    directory, outcome = runs / "environments" / case.replace(", ", "-"), Outcome()
    shutil.rmtree(directory, ignore_errors=True)
    ended = train(directory, settings_of(case), outcome)
    outcome.note = f"{ended.seconds:.1f} s"
    check(case, ended.status, ended.errors, outcome)
    found = left_behind.look(directory / "run", directory / "model", outcome)
    # That its numbers are finite has been looked at.
    outcome.require(found.step >= 0, "lost", "there is no checkpoint")
    if ended.status == 0:
        left_behind.check_export(directory / "run", directory / "model", outcome)
    shutil.rmtree(directory)
    return outcome


def check(case: str, status: int, errors: list[str], outcome: Outcome) -> None:
    """Books an end that is not the one that is expected."""
    expected = CASES[case]
    # The processes of Gymnasium's own say more, before the line that is ours.
    last = errors[-1] if errors else ""
    outcome.message = last
    outcome.require(status == expected.status, "violations", f"ended with {status}: {last}")
    if expected.words is None:
        outcome.book("violations", f"said {errors}", len(errors))
        return
    if expected.status == 0:
        others = [line for line in errors if re.search(expected.words, line) is None]
        is_said = errors and not others
        outcome.require(bool(is_said), "violations", f"said {errors}")
        return
    pattern = f"{expected.words}.*{_INTACT}"
    outcome.require(re.search(pattern, last) is not None, "violations", f"said {last}")
    if "vectorization" not in expected.settings:
        outcome.book("violations", f"said {errors}", len(errors) - 1)
