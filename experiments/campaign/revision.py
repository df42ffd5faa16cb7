"""Which code a result was made with."""

from __future__ import annotations

import hashlib

from experiments.campaign.process import ROOT
from trpo_tf import provenance

_CODE = ("*.py", "pyproject.toml")


def code_revision() -> str:
    """The last commit that changed code, "" outside a checkout.

    With `-dirty` and a number of the changes if code differs from it. Results that grow beside the
    code, committed or not, make it no other code.
    """
    revision = provenance.git_revision(ROOT, _CODE) or ""
    if not revision.endswith("-dirty"):
        return revision
    changes = provenance.git_changes(ROOT, _CODE) or ""
    return f"{revision}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}"
