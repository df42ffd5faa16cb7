"""Runs a command; writes when it began and the most memory it had resident to a file, as JSON.

    python -m experiments.speed.watched report.json command argument …

A small process on purpose: Linux counts the memory of the process that starts a command as the
command's own, and the benchmark's is large. Standard library only.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Returns the command's status."""
    report, *command = sys.argv[1:]
    began = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    Path(report).write_text(json.dumps({"began": began, "peak_mib": peak_mib}))
    return status


if __name__ == "__main__":
    sys.exit(main())
