"""Training by the command that users give, and what its progress file says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from experiments.speed.results import read


def command(directory: Path, **settings: Any) -> list[str]:
    """`python -m trpo_tf.train` with these settings; all that it leaves goes into `directory`."""
    flags = [f"--{name}={value}" for name, value in settings.items()]
    places = [f"--logdir={directory / 'run'}", f"--export_dir={directory / 'exported'}"]
    return [sys.executable, "-m", "trpo_tf.train", *flags, *places, "--progress=none"]


def progress(directory: Path) -> list[dict[str, str]]:
    """A row an update."""
    return read(directory / "run" / "progress.csv")
