"""The run whose trained policy chooses the actions of which stepping is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make_run(run: str, env: str = "Walker2d") -> None:
    """Trains for 300,000 steps into this run directory, unless it exists."""
    if Path(run).exists():
        return
    arguments = [f"--env={env}", "--total_steps=300000", f"--logdir={run}", "--seed=100"]
    command = [sys.executable, "-m", "trpo_tf.train", *arguments]
    subprocess.run([*command, f"--export_dir={run}/exported"], check=True)
