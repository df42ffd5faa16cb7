"""Which code a result was made with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from experiments.campaign.process import ROOT
from trpo_tf import provenance

CODE = ("*.py", "pyproject.toml")
# What the fault campaigns put to the test: neither a mend of their own checks nor a task's tuned
# settings make it another package.
PACKAGE = ("trpo_tf", ":(exclude)trpo_tf/presets.py", "pyproject.toml")


def code_revision(paths: Sequence[str] = CODE) -> str:
    """The last commit that changed code, "" outside a checkout.

    With `-dirty` and a number of the changes if code differs from it. Results that grow beside the
    code, committed or not, make it no other code.

    Args:
        paths: what counts as code, Git's pathspecs.
    """
    revision = provenance.git_revision(ROOT, paths) or ""
    if not revision.endswith("-dirty"):
        return revision
    changes = provenance.git_changes(ROOT, paths) or ""
    return f"{revision}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}"
