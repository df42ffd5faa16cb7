"""Which code a result was made with."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.campaign.process import ROOT
from trpo_tf import provenance

CODE = ("*.py", "pyproject.toml")
# What the fault campaigns put to the test: neither a mend of their own checks nor a task's tuned
# settings make it another package.
PACKAGE = ("trpo_tf", ":(exclude)trpo_tf/presets.py")


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


def modules_behind(*sources: Path) -> list[str]:
    """Modules of the package that some source files import, and all that those import.

    Returns:
        Their paths in the checkout, for `code_revision`.

    >>> modules_behind(ROOT / "trpo_tf" / "preconditioner.py")
    ['trpo_tf/random.py']
    """
    found: set[Path] = set()
    waiting = list(sources)
    while waiting:
        new = set(_imported(waiting.pop())) - found
        found |= new
        waiting += new
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def _imported(source: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trpo_tf"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = ROOT / f"{str(name).replace('.', '/')}.py"
                if path.is_file():
                    yield path
