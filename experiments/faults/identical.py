"""A run that is killed and resumed must be, bit for bit, the run that was never stopped.

Of synchronous samplers in environments that can be restored exactly. Compared are all variables of
the last checkpoint, the exact state of its environments, the sampler's counters, the best return,
the variables of the exported model and of the best policy, and progress.csv, all without what the
clock says.
"""

from __future__ import annotations

import collections
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.campaign.process import ROOT
from experiments.faults import kills
from experiments.faults.outcome import Outcome
from experiments.faults.training import Training, train

sys.path.insert(0, str(ROOT / "tests"))

import bandit

CASES: dict[str, dict[str, Any]] = {
    "CartPole": {"env": "CartPole-v1"},
    "Pendulum": {"env": "Pendulum-v1"},
    "InvertedPendulum": {"env": "InvertedPendulum-v5"},
    "Hopper": {"env": "Hopper-v5"},
    "Ant": {"env": "Ant-v5"},
    "Hopper, compiled": {"env": "Hopper-v5", "execution": "xla"},
}
_MOST_KILLS = 4


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """One undisturbed run, and one that is killed a few times, at least once."""
    moments, outcome = random.Random(f"{seed} {case} {number}"), Outcome()
    directory = runs / "identical" / case.replace(", ", "-")
    shutil.rmtree(directory, ignore_errors=True)
    settings = {**CASES[case], "seed": number}
    whole, parts = directory / "whole", directory / "parts"
    ended = train(whole, kills.life_settings(whole / "run", settings), outcome)
    outcome.require(
        ended.status == 0, "violations", f"ended with {ended.status}: {ended.err[-300:]}"
    )
    count = 0
    while not (count or outcome.found):
        # All moments may have come after the end of what they were drawn for.
        shutil.rmtree(parts, ignore_errors=True)
        count = _train_in_parts(parts, settings, moments, outcome)
    outcome.note = f"{count} kills"
    if not outcome.found:
        compare(whole, parts, outcome)
    return outcome


def compare(whole: Path, parts: Path, outcome: Outcome) -> None:
    """Books every difference between two runs; both directories hold `run` and `model`."""
    ours, theirs = bandit.rows(parts / "run"), bandit.rows(whole / "run")
    different = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(
        len(ours) - len(theirs)
    )
    outcome.book("wrong", f"{different} rows of progress.csv differ", different)
    for name, read in (("checkpoint", _saved), ("export", _exported), ("best policy", _best)):
        mine, others = read(parts), read(whole)
        outcome.require(mine.keys() == others.keys(), "wrong", f"{name}: other variables")
        differing = [key for key in mine.keys() & others.keys() if mine[key] != others[key]]
        outcome.book("wrong", f"{name}: {sorted(differing)[:3]} differ", len(differing))


def _train_in_parts(
    directory: Path, settings: dict[str, Any], moments: random.Random, outcome: Outcome
) -> int:
    logdir, export_dir = directory / "run", directory / "model"
    for count in range(_MOST_KILLS):
        moment = kills.draw_moment(moments, kills.UPDATES // _MOST_KILLS)
        training = Training(directory, kills.life_settings(logdir, settings), outcome)
        kills.strike(training, moment, logdir, export_dir)
        ended = training.wait()
        if ended.status != -signal.SIGKILL:
            outcome.require(ended.status == 0, "violations", f"ended with {ended.status}")
            return count
    ended = train(directory, kills.life_settings(logdir, settings), outcome)
    outcome.require(
        ended.status == 0, "violations", f"ended with {ended.status}: {ended.err[-300:]}"
    )
    return _MOST_KILLS


def _saved(directory: Path) -> dict[str, Any]:
    variables = bandit.variables(directory / "run")
    arrays = {f"arrays/{name}": value for name, value in bandit.arrays(directory / "run").items()}
    state = bandit.state(directory / "run")
    counters = {**state["sampler"], "best_return": state["best_return"]}
    numbers = {**variables, **arrays}
    return {name: np.asarray(value).tobytes() for name, value in numbers.items()} | counters


def _exported(directory: Path) -> dict[str, int]:
    return _variables_of(directory / "model")


def _best(directory: Path) -> dict[str, int]:
    return _variables_of(directory / "run" / "best_policy")


def _variables_of(base: Path) -> dict[str, int]:
    """How often each variable's shape and bits are there: exports hold them in any order."""
    newest = max(base.glob("[0-9]*"), key=lambda path: int(path.name))
    reader = tf.train.load_checkpoint(str(newest / "variables" / "variables"))
    return collections.Counter(
        f"{reader.get_tensor(name).shape} {reader.get_tensor(name).tobytes().hex()}"
        for name in reader.get_variable_to_shape_map()
        if name.startswith("tf_variables/")
    )
