"""Every Python snippet of the README runs as it is printed, with fewer updates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_README = Path(__file__).parents[1] / "README.md"
_SNIPPETS = re.findall(r"^```python\n(.*?)^```", _README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_has_its_snippets():
    assert len(_SNIPPETS) == 4


@pytest.mark.parametrize("snippet", _SNIPPETS, ids=lambda text: text.split("\n", 1)[0])
def test_snippet_runs(snippet, run_code, tmp_path, repository):
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "Walker2d").symlink_to(repository / "saved_models" / "Walker2d")
    completed = run_code(snippet.replace("range(500)", "range(2)"))
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.strip()
