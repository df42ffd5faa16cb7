"""Which code a result was made with."""

from __future__ import annotations

from experiments.campaign.process import ROOT
from trpo_tf import provenance

_CODE = ("*.py", "pyproject.toml")


def code_revision() -> str:
    """The commit, with `-dirty` if code differs from it; "" outside a checkout.

    Results that grow beside the code make it no other code.
    """
    return provenance.git_revision(ROOT, _CODE) or ""
