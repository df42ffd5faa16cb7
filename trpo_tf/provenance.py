"""What a run was made with: command, versions, source revision, processor and threads."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
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
    "box2d",
    "box2d-py",
    "ray",
)
# What the libraries that compute read from the environment when they start. oneDNN, Eigen and XLA
# round otherwise with other kernels, instruction sets and numbers of threads.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)
# By these the libraries choose their kernels; a virtual machine may hide some of a processor's.
_INSTRUCTION_SET = re.compile(r"(amx|avx|f16c|fma|sse4|asimd|sve)")
_GIT_SECONDS = 10.0


def describe_session(command_line: Sequence[str]) -> dict[str, Any]:
    """Everything outside the settings that bits may depend on, in JSON's own types.

    Equal settings give equal bits only with equal versions, processor and thread counts.

    Args:
        command_line: the program and its arguments; recorded as it is.

    Returns:
        started (UTC), command_line, python, versions of the packages that are installed,
        git_revision (None outside a checkout; `-dirty` with uncommitted changes), platform,
        processor, instruction_sets (that decide which kernels run), cpus (that this process may
        use), intra_op_threads and inter_op_threads (0: TensorFlow chooses), accelerators (names),
        variables (those that are set of the environment variables that the libraries read).

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
        "instruction_sets": _instruction_sets(),
        "cpus": _cpus(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "accelerators": [
            device.name
            for device in tf.config.list_physical_devices()
            if device.device_type != "CPU"
        ],
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def git_revision(checkout: Path, files: Sequence[str] = ()) -> str | None:
    """The commit that a checkout is at, with `-dirty` if files differ from it.

    With `files` (patterns of git's) the last commit that changed one of them, if any did: others
    that come after it, of results say, make it no other revision.

    None where the directory is not itself the top of a checkout (a package installed somewhere
    below another project's checkout, say), or where there is no git.
    """
    if not (checkout / ".git").exists():
        return None
    last_change = _git(checkout, "log", "-1", "--format=%H", "--", *files)
    revision = last_change or _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", *files)
    if not revision or changes is None:
        return None
    return f"{revision}-dirty" if changes else revision


def git_changes(checkout: Path, files: Sequence[str] = ()) -> str | None:
    """What `-dirty` stands for: the difference of files from the commit; None as `git_revision`."""
    return _git(checkout, "diff", "HEAD", "--", *files)


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
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _instruction_sets() -> list[str]:
    flags = _cpu_info("flags") or _cpu_info("Features")
    return sorted(flag for flag in flags.split() if _INSTRUCTION_SET.match(flag))


def _cpu_info(key: str) -> str:
    """What Linux says of the first processor; nothing on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = (line.partition(":") for line in file)
            return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
    except OSError:
        return ""


def _cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
