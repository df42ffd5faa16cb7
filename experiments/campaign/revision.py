"""Which code a result was made with."""

from __future__ import annotations

import hashlib
import subprocess

from experiments.campaign.process import ROOT
from trpo_tf import provenance

_CODE = ("*.py", "pyproject.toml")


def code_revision() -> str:
    """The commit, with `-dirty` and a number of the changes if code differs; "" outside a checkout.

    Results that grow beside the code make it no other code.
    """
    revision = provenance.git_revision(ROOT, _CODE) or ""
    if not revision.endswith("-dirty"):
        return revision
    command = ["git", "-C", str(ROOT), "diff", "HEAD", "--", *_CODE]
    changes = subprocess.run(command, capture_output=True, check=True).stdout
    return f"{revision}-{hashlib.sha256(changes).hexdigest()[:8]}"
