"""What a run was made with: command, versions, source revision, processor and threads."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

_PACKAGES = (
    "trpo_tf",
    "tensorflow",
    "keras",
    "tensorflow-probability",
    "gymnasium",
    "numpy",
    "mujoco",
    "envpool",
    "ale-py",
    "ray",
)
_GIT_SECONDS = 10.0


def describe_session(command_line: Sequence[str]) -> dict[str, Any]:
    """Everything outside the settings that bits may depend on, in JSON's own types.

    Equal settings give equal bits only with equal versions, processor and thread counts.

    Args:
        command_line: the program and its arguments; recorded as it is.

    Returns:
        started (UTC), command_line, python, versions of the packages that are installed,
        git_revision (None outside a checkout; `-dirty` with uncommitted changes), platform,
        processor, cpus (that this process may use), intra_op_threads and inter_op_threads (0:
        TensorFlow chooses).

    >>> session = describe_session(["train", "--env=CartPole"])
    >>> session["command_line"], "tensorflow" in session["versions"], session["cpus"] >= 1
    (['train', '--env=CartPole'], True, True)
    """
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command_line": list(command_line),
        "python": platform.python_version(),
        "versions": _versions(),
        "git_revision": git_revision(Path(__file__).parents[1]),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": _cpus(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }


def git_revision(checkout: Path) -> str | None:
    """The commit that a checkout is at, with `-dirty` if files differ from it.

    None where the directory is not itself the top of a checkout (a package installed somewhere
    below another project's checkout, say), or where there is no git.
    """
    if not (checkout / ".git").exists():
        return None
    revision = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    if not revision or changes is None:
        return None
    return f"{revision}-dirty" if changes else revision


def _git(checkout: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    # Without the option, `status` may write to the checkout's index.
    command = [git, "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line[:10] == "model name"]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
