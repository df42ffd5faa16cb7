"""One process of a campaign, with settings that make its bits depend on nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# One thread, so that neighbours change no bit, and the same environments with or without EnvPool.
REPEATABLE = {"intra_op_threads": 1, "inter_op_threads": 1, "vectorization": "sync"}


def run_process(command: Sequence[str]) -> str:
    """Runs a command that can import this checkout; returns what it printed.

    Raises:
        RuntimeError: it ended with another status than 0; has the end of what it said.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode:
        raise RuntimeError(f"{command} ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
    return ended.stdout
