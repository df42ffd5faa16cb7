"""The training command in a process of its own, in settings that make a life short."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.campaign.process import ROOT
from experiments.faults import processes
from experiments.faults.outcome import Outcome

# Starting and compiling are most of a life: nothing is compiled, and the networks are tiny.
SMALL: dict[str, Any] = {
    "num_envs": 2,
    "num_steps": 32,
    "hidden_sizes": "4",
    "value_epochs": 1,
    "value_minibatch_size": 0,
    "cg_steps": 2,
    "execution": "eager",
    "vectorization": "sync",
    "intra_op_threads": 1,
    "inter_op_threads": 1,
    "checkpoint_every": 2,
}
# What a busy machine may take for a whole life; nothing here waits so long unless it hangs.
LIFE_SECONDS = 900.0
# For all that a training has started to end; a process that takes longer is an orphan. Nobody tells
# the children of a killed one, and the proof of its export goes on to its end.
GRACE_SECONDS, KILLED_GRACE_SECONDS = 20.0, 60.0


class Ended(NamedTuple):
    """A training that is over.

    Attributes:
        status: as `subprocess` has it, −9 after SIGKILL.
        out, err: what it printed.
        seconds: it took.
    """

    status: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """Lines on standard error."""
        return _lines(self.err)


class Training:
    """`python -m trpo_tf.train` in a directory, its output in files beside the run.

    Args:
        directory: where it works and its output goes.
        settings: flags of the command; True stands for one without a value.
        outcome: where orphans are booked, and an end that does not come by itself.
        before: called in the new process before the command begins.

    Attributes:
        mark: of this process and of all that it starts; see `processes.marked`.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any],
        outcome: Outcome,
        before: Callable[[], None] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._outcome = outcome
        self._output = directory / "out.txt", directory / "err.txt"
        self.began = time.monotonic()
        self.mark = processes.new_mark()
        environment = {
            **os.environ,
            **self.mark,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
        with self._output[0].open("w") as out, self._output[1].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trpo_tf.train", "--progress=none", *as_flags(settings)],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=before,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until(
        self, is_so: Callable[[], bool], pause: float = 0.005, seconds: float = LIFE_SECONDS
    ) -> bool:
        """Whether it came to be so while the process was running, in the time of its life."""
        deadline = self.began + seconds
        while self.is_running and time.monotonic() < deadline:
            if is_so():
                return True
            time.sleep(pause)
        return False

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this process alone."""
        if self.is_running:
            self.process.send_signal(number)

    def errors_so_far(self) -> list[str]:
        """Lines on standard error at this moment."""
        return _lines(self._output[1].read_text(errors="replace"))

    def wait(self, seconds: float = LIFE_SECONDS) -> Ended:
        """The end, of all that it started too; what does not come in time is made by SIGKILL."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._outcome.book("violations", f"it had not ended after {seconds:g} s")
            self.process.kill()
            status = self.process.wait()
        taken = time.monotonic() - self.began
        is_killed = status == -signal.SIGKILL
        left = processes.wait_for_none(
            lambda: processes.marked(self.mark),
            KILLED_GRACE_SECONDS if is_killed else GRACE_SECONDS,
        )
        self._outcome.book("orphans", f"{left}", len(left))
        self._kill_all()
        out, err = (path.read_text(errors="replace") for path in self._output)
        return Ended(status, out, err, taken)

    def _kill_all(self) -> None:
        for pid in processes.marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def train(
    directory: Path,
    settings: Mapping[str, Any],
    outcome: Outcome,
    before: Callable[[], None] | None = None,
) -> Ended:
    """Runs the command to its end."""
    return Training(directory, settings, outcome, before).wait()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def as_flags(settings: Mapping[str, Any]) -> Sequence[str]:
    """Settings as flags of the command line.

    >>> as_flags({"resume": True, "num_envs": 2, "env_kwargs": {"a": 1}})
    ['--resume', '--num_envs=2', '--env_kwargs={"a": 1}']
    """
    return [
        f"--{name}"
        if value is True
        else f"--{name}={json.dumps(value) if isinstance(value, dict) else value}"
        for name, value in settings.items()
    ]
