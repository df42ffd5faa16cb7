"""Processes that collect are killed, stopped or made to hang at random moments.

Under the asynchronous sampler (four environments, a process each) and Ray's (two workers of two)
what is lost must be replaced; under the synchronous one training must stop in time and say which
worker it was. A ledger books every transition that arrives. Then the training command itself: its
processes must end with it, and Ctrl-C and SIGTERM save first.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import trpo_tf
from experiments.campaign.process import ROOT, run_process
from experiments.faults import left_behind, life_env, processes
from experiments.faults.ledger import Ledger
from experiments.faults.outcome import Outcome
from experiments.faults.training import GRACE_SECONDS, SMALL, Training

NUM_ENVS = 4
NUM_STEPS = 50
STEP_SECONDS = 0.004
TIMEOUT = 20.0
HOWS = ("killed", "stopped", "hung")
# From a death to its error, and beside the time-out where a worker only says nothing: an error that
# takes longer came too late, on a busy machine too.
PROMPT_SECONDS = 5.0
# After a worker that is lost so many updates must follow, in so many seconds of a training's life.
_ROWS_AFTER, _GOING_ON_SECONDS = 6, 180.0
_PROCESS = life_env.Place._fields.index("process")


def make_policy() -> Any:
    """A small policy for the environment."""
    space = gym.spaces.Box(-np.inf, np.inf, (len(life_env.Place._fields),), np.float64)
    return trpo_tf.make_policy(
        space, gym.spaces.Box(-10.0, 10.0, (1,), np.float32), hidden_sizes=(8,)
    )


def make_sync_sampler(hangs: str, timeout: float = TIMEOUT) -> trpo_tf.Sampler:
    """With a process an environment, and nothing that replaces one."""
    env = life_env.make_life_processes(NUM_ENVS, 0, STEP_SECONDS, hangs)
    return trpo_tf.Sampler(env, make_policy(), NUM_STEPS, timeout=timeout)


def make_async_sampler(hangs: str, timeout: float = TIMEOUT) -> trpo_tf.AsyncSampler:
    """With a process an environment."""
    make_env = functools.partial(
        life_env.make_life_processes, step_seconds=STEP_SECONDS, hangs=hangs
    )
    return trpo_tf.AsyncSampler(
        make_sync_sampler(hangs, timeout), timeout=timeout, make_env=make_env
    )


def make_ray_sampler(hangs: str, timeout: float = TIMEOUT) -> trpo_tf.RaySampler:
    """With two workers of this machine."""
    # The workers import this package from where it is.
    os.environ["PYTHONPATH"] = str(ROOT)
    recipe = trpo_tf.Recipe(
        functools.partial(life_env.make_life_envs, step_seconds=STEP_SECONDS, hangs=hangs),
        make_policy,
        NUM_ENVS // 2,
        NUM_STEPS,
    )
    return trpo_tf.RaySampler(
        make_policy(), recipe, num_workers=2, timeout=timeout, worker_cpus=0.5
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "sync": make_sync_sampler,
    "async": make_async_sampler,
    "ray": make_ray_sampler,
}


def trial(case: str, number: int, seed: int, runs: Path) -> Outcome:
    """One fault of a worker, or one request to end."""
    moments, outcome = random.Random(f"{seed} {case} {number}"), Outcome()
    {**CASES, **SIGNALS}[case](runs / "workers", moments, outcome)
    return outcome


def replaced(
    sampler: Any,
    how: str,
    hangs: Path,
    moments: random.Random,
    outcome: Outcome,
    timeout: float = TIMEOUT,
) -> Ledger:
    """One fault of a sampler that replaces what is lost; books every transition on the way.

    Args:
        sampler: of `MAKERS`, "async" or "ray".
        how: one of `HOWS`.
        hangs: the directory that the sampler's maker was given.
        moments: draws the victim and the moment.
        outcome: where what is wrong is booked.
        timeout: that the sampler's maker was given.

    Returns:
        The ledger of all rollouts.
    """
    ledger = Ledger()
    with warnings_of_samplers() as said:
        at_work = processes_of(book(sampler, ledger, outcome))
        victim = moments.choice(sorted(at_work))
        seen: set[int] = set()
        lost_before, known = sampler.lost_rollouts, math.inf
        began = _later(how, victim, hangs, moments)
        deadline = began + 2 * timeout + 300
        # Until the loss is known and as many processes as before are there, not the victim.
        while sampler.lost_rollouts == lost_before or len(seen) < len(at_work):
            found = processes_of(book(sampler, ledger, outcome))
            if sampler.lost_rollouts > lost_before:
                known = min(known, time.monotonic() - began)
                seen = (seen | found) - {victim}
            if time.monotonic() > deadline:
                outcome.book("violations", "nothing was replaced")
                break
    _require_in_time(how, known, timeout, outcome)
    lost = sampler.lost_rollouts - lost_before
    outcome.require(lost == 1, "violations", f"{lost} rollouts were counted as lost")
    outcome.note += f"{time.monotonic() - began:.1f} s; {len(ledger.transitions)} transitions; "
    outcome.message = " | ".join(said)
    outcome.require(
        len(said) == 1 and str(victim) in said[0] and _says_how(how, said[0]),
        "violations",
        f"said {said} of process {victim}",
    )
    left = processes.wait_for_end({victim}, GRACE_SECONDS)
    outcome.book("orphans", f"the {how} process {victim}", len(left))
    missing = sampler.env_steps - len(ledger.transitions)
    outcome.book("lost", f"{missing} transitions", max(0, missing))
    outcome.book("doubled", f"{-missing} transitions more than steps", max(0, -missing))
    return ledger


def stopped_in_time(
    sampler: Any,
    how: str,
    hangs: Path,
    moments: random.Random,
    outcome: Outcome,
    timeout: float = TIMEOUT,
) -> None:
    """One fault of a sampler that replaces nothing: an error in time that says which and how."""
    ledger = Ledger()
    at_work = processes_of(book(sampler, ledger, outcome))
    victim = moments.choice(sorted(at_work))
    began = _later(how, victim, hangs, moments)
    try:
        while time.monotonic() < began + timeout + 300:
            book(sampler, ledger, outcome)
        outcome.book("violations", "no error came")
    except trpo_tf.samplers.WorkersLost as error:
        outcome.message = str(error)
    seconds = time.monotonic() - began
    outcome.note += f"{seconds:.1f} s; "
    _require_in_time(how, seconds, timeout, outcome)
    is_named = f"in process {victim}." in outcome.message and _says_how(how, outcome.message)
    outcome.require(is_named, "violations", f"said {outcome.message} of process {victim}")


def _require_in_time(how: str, seconds: float, timeout: float, outcome: Outcome) -> None:
    """A death must be known at once, and what only says nothing when its time is over."""
    limit = PROMPT_SECONDS + (0 if how == "killed" else timeout)
    outcome.require(seconds <= limit, "violations", f"known after {seconds:.1f} s, not {limit:g}")


def _says_how(how: str, message: str) -> bool:
    """Whether worker, environment, seed and signal are named."""
    if "Ray worker" in message:
        place = r"Ray worker \d \(\S+ \(\d environments? from number \d, seed \d+\), process"
        reason = "does not tell by which signal" if how == "killed" else "without a step"
        return re.search(place, message) is not None and reason in message
    reason = r"signal SIGKILL" if how == "killed" else r"no answer for [\d.]+ s"
    pattern = rf"processes of \S+ .*: environment \d \({reason}\) of seed \d+ in process"
    return re.search(pattern, message) is not None


def _later(how: str, victim: int, hangs: Path, moments: random.Random) -> float:
    """Does it to a process at a moment of its next rollouts; returns when that is."""
    delay = moments.uniform(0, 1.5) * NUM_STEPS * STEP_SECONDS

    def strike() -> None:
        if how == "hung":
            (hangs / str(victim)).touch()
        else:
            os.kill(victim, signal.SIGKILL if how == "killed" else signal.SIGSTOP)

    threading.Timer(delay, strike).start()
    return time.monotonic() + delay


def book(sampler: Any, ledger: Ledger, outcome: Outcome) -> trpo_tf.Rollout:
    """Collects a rollout and books its transitions."""
    rollout, _ = sampler.collect()
    try:
        ledger.book(rollout)
    except AssertionError as error:
        is_double = str(error).startswith("twice")
        outcome.book("doubled" if is_double else "wrong", str(error))
    return rollout


def processes_of(rollout: trpo_tf.Rollout) -> set[int]:
    """Those that made the last observations of a rollout."""
    return {int(process) for process in rollout.observations[-1, :, _PROCESS]}


class warnings_of_samplers:  # noqa: N801 (used as a function)
    """Collects what samplers say of what they have lost."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._handler = logging.Handler()
        self._handler.emit = lambda record: self._said.append(record.getMessage())  # type: ignore[method-assign]
        self._logger = logging.getLogger("trpo_tf.samplers.background")

    def __enter__(self) -> list[str]:
        self._logger.addHandler(self._handler)
        return self._said

    def __exit__(self, *exception: object) -> None:
        self._logger.removeHandler(self._handler)


def _with_sampler(
    name: str, how: str, runs: Path, moments: random.Random, outcome: Outcome
) -> None:
    before = processes.descendants(os.getpid())
    with tempfile.TemporaryDirectory() as hangs, processes.marking() as mark:
        sampler = MAKERS[name](hangs)
        try:
            act = stopped_in_time if name == "sync" else replaced
            act(sampler, how, Path(hangs), moments, outcome)
        finally:
            sampler.close()

    def started() -> set[int]:
        # Forked ones have no environment of their own, and those of Ray another parent.
        ours = processes.alive(processes.descendants(os.getpid()) - before)
        return ours | processes.marked(mark)

    left = processes.wait_for_none(started, GRACE_SECONDS)
    outcome.book("orphans", f"{left}", len(left))


def _lose_a_node(runs: Path, moments: random.Random, outcome: Outcome) -> None:
    """In a process of its own: Ray's cluster for tests must be started by a main thread."""
    command = [sys.executable, "-m", "experiments.faults.lost_node", str(moments.random())]
    found = json.loads(run_process(command).splitlines()[-1])
    for name, value in found.items():
        setattr(outcome, name, value)


def _command(
    settings: dict[str, Any],
    worker_fault: signal.Signals | None,
    request: signal.Signals | None,
    to_all: bool,
    runs: Path,
    moments: random.Random,
    outcome: Outcome,
) -> None:
    """The training command, with a fault of one of its workers or a request to end, or both.

    One that replaces its workers must go on; SIGTERM comes once it has, where nothing else ends it.
    A request goes to all processes as a terminal sends Ctrl-C, and `timeout` and others SIGTERM.
    """
    directory = runs / "command"
    shutil.rmtree(directory, ignore_errors=True)
    places = {"logdir": "run", "export_dir": "model"}
    common = {"env": "CartPole-v1", "worker_timeout": TIMEOUT, "total_steps": 1_000_000}
    training = Training(directory, {**SMALL, **common, **places, **settings}, outcome)
    rows = directory / "run" / "progress.csv"
    enough = moments.randint(1, 6)
    training.wait_until(lambda: len(left_behind.whole_rows(rows)) >= enough)
    started = processes.descendants(training.process.pid)
    began = time.monotonic()
    if worker_fault is not None:
        os.kill(moments.choice(_workers_among(started, settings)), worker_fault)
    goes_on = request is None and settings["sampler"] != "sync"
    if goes_on:
        _require_going_on(training, rows, outcome)
        request = signal.SIGTERM
    if request is not None:
        time.sleep(moments.uniform(0, 0.5))
        for pid in sorted(processes.alive(started)) if to_all else []:
            os.kill(pid, request)
        training.signal(request)
    ended = training.wait(TIMEOUT + 60)
    outcome.note += f"{time.monotonic() - began:.1f} s; "
    outcome.message = " | ".join(ended.errors)
    found = left_behind.look(directory / "run", directory / "model", outcome)
    unsaved = len(found.rows) - found.step
    if ended.status == 1 and worker_fault is not None and settings["sampler"] == "sync":
        how = "killed" if worker_fault is signal.SIGKILL else "stopped"
        says = _says_how(how, outcome.message)
        outcome.require(says, "violations", f"said {outcome.message}")
        seconds = ended.seconds - (began - training.began)
        # Its own end comes on top: checkpoints, environments and Python itself.
        _require_in_time(how, seconds - PROMPT_SECONDS, TIMEOUT, outcome)
    else:
        expected = 128 + (request or 0)
        outcome.require(ended.status == expected, "violations", f"ended with {ended.status}")
    outcome.book("lost", f"{unsaved} updates were not saved", abs(unsaved))
    if goes_on:
        is_told = len(ended.errors) == 1 and _says_how("killed", outcome.message)
        outcome.require(is_told, "violations", f"said {ended.errors}")


def _workers_among(started: set[int], settings: dict[str, Any]) -> list[int]:
    """The processes that collect; without its agents a node of Ray ends, and its driver too."""
    if settings["sampler"] != "ray":
        return sorted(started)
    names = {pid: processes.command_of(pid) for pid in sorted(started)}
    return [pid for pid, name in names.items() if re.match(r"ray::RolloutWorker", name)]


def _require_going_on(training: Training, rows: Path, outcome: Outcome) -> None:
    """Waits until a loss is booked in progress.csv and updates have followed it."""

    def has_gone_on() -> bool:
        lines = left_behind.whole_rows(rows)
        return len(lines) > _ROWS_AFTER and _lost_rollouts(rows, lines[-_ROWS_AFTER]) == 1

    went_on = training.wait_until(has_gone_on, pause=0.1, seconds=_GOING_ON_SECONDS)
    outcome.require(went_on, "violations", "it did not go on without the worker")


def _lost_rollouts(rows: Path, line: str) -> int:
    with rows.open() as file:
        column = file.readline().rstrip("\n").split(",").index("lost_rollouts")
    return int(line.split(",")[column])


_SYNC = {"sampler": "sync", "vectorization": "async"}
_ASYNC = {"sampler": "async", "vectorization": "async"}
_RAY = {"sampler": "ray", "worker_cpus": 0.5, "num_envs": 2}
_Case = Callable[[Path, random.Random, Outcome], None]
SIGNALS: dict[str, _Case] = {
    f"command, {name}, {number.name}{' to all' if to_all else ''}": functools.partial(
        _command, settings, None, number, to_all
    )
    for name, settings in (("sync", _SYNC), ("async", _ASYNC), ("ray", _RAY))
    for number, to_all in ((signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGTERM, True))
    # Without its agents a node of Ray ends, and its driver too.
    if (name, number, to_all) != ("ray", signal.SIGTERM, True)
}
CASES: dict[str, _Case] = {
    **{
        f"{name}, {how}": functools.partial(_with_sampler, name, how)
        for name in MAKERS
        for how in HOWS
    },
    **{
        f"command, {name}, worker killed": functools.partial(
            _command, settings, signal.SIGKILL, None, False
        )
        for name, settings in (("sync", _SYNC), ("async", _ASYNC), ("ray", _RAY))
    },
    "command, sync, worker stopped": functools.partial(
        _command, _SYNC, signal.SIGSTOP, None, False
    ),
    **{
        f"command, {name}, worker stopped, SIGTERM": functools.partial(
            _command, settings, signal.SIGSTOP, signal.SIGTERM, False
        )
        for name, settings in (("sync", _SYNC), ("async", _ASYNC))
    },
    "ray, node killed": _lose_a_node,
}
