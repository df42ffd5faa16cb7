"""The virtual environment of the other libraries, apart from ours."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

_PACKAGES = ["torch==2.13.0", "sb3-contrib==2.9.*", "gymnasium[mujoco]==1.4.*", "pandas==3.*"]


def peers_python(directory: str) -> str:
    """The environment's interpreter; the environment is made if it does not exist."""
    python = Path(directory) / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    return str(python)
