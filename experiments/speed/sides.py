"""The processes that are measured: one a side, each in its own virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from experiments.campaign.peers import peers_python

OURS, SB3, TIANSHOU = "trpo_tf", "sb3-contrib", "tianshou"
OURS_IN_GYMNASIUM = "trpo_tf in SyncVectorEnv"
SIDES = (OURS, SB3, TIANSHOU)
ROOT = Path(__file__).parents[2]

_TIANSHOU = "tianshou==2.0.*"
_REPORTED = {
    OURS: ("trpo_tf", "tensorflow", "keras", "gymnasium", "envpool", "mujoco", "numpy"),
    SB3: ("sb3-contrib", "stable-baselines3", "torch", "gymnasium", "mujoco", "numpy"),
    TIANSHOU: ("tianshou", "torch", "gymnasium", "mujoco", "numpy"),
}
_VERSIONS = """
import importlib.metadata, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""


class Ended(NamedTuple):
    """What a process left.

    Attributes:
        result: its last printed line, from JSON.
        peak_mib: the most memory that it had resident.
        began: `time.monotonic` just before it was started.
    """

    result: dict[str, Any]
    peak_mib: float
    began: float

    def with_peak(self) -> dict[str, Any]:
        """The result and its memory."""
        return {**self.result, "peak_mib": self.peak_mib}


class Pythons:
    """The interpreters of the three sides; the peers' environment is made where it is missing."""

    def __init__(self, peers: str) -> None:
        # Not resolved: the link's place is what makes it the environment's interpreter.
        python = str(Path(peers_python(peers)).absolute())
        if subprocess.run(
            [python, "-c", "import tianshou"], capture_output=True, check=False
        ).returncode:
            subprocess.run([python, "-m", "pip", "install", "--quiet", _TIANSHOU], check=True)
        self.of = {OURS: sys.executable, SB3: python, TIANSHOU: python}

    def versions(self) -> list[dict[str, str]]:
        """Rows of side, package and version."""
        rows = []
        for side, python in self.of.items():
            command = [python, "-c", _VERSIONS, *_REPORTED[side]]
            printed = subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment()
            ).stdout
            for package, version in json.loads(printed).items():
                rows.append({"side": side, "package": package, "version": version})
        return rows

    def run(self, side: str, module: str, arguments: Any, **variables: str) -> Ended:
        """Runs a module of this directory, which takes and prints JSON, to its end."""
        command = [self.of[side], "-m", f"experiments.speed.{module}", json.dumps(arguments)]
        return run_to_end(command, variables)


def run_to_end(command: list[str], variables: Mapping[str, str]) -> Ended:
    """Runs a command whose last line is JSON, or that prints none.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        watched = [sys.executable, "-m", "experiments.speed.watched", str(report), *command]
        ended = subprocess.run(
            watched,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment(**variables),
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"{command} failed:\n{ended.stderr[-3000:]}")
        seen = json.loads(report.read_text())
    lines = ended.stdout.splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Ended(result, **seen)


def environment(**variables: str) -> dict[str, str]:
    """The variables of a side's process, which finds the modules of this directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


class Server:
    """A long-lived process of one side, asked by lines of JSON (see `serving`)."""

    def __init__(self, python: str, module: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", f"experiments.speed.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            RuntimeError: the process has died; its own message is on standard error.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}.")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
