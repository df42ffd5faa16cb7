from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from trpo_tf import provenance


def test_session_is_plain_and_complete():
    session = provenance.describe_session(["train", "--env=CartPole"])
    assert json.loads(json.dumps(session)) == session
    assert session["versions"]["tensorflow"] == tf.__version__
    assert session["cpus"] >= 1
    assert session["processor"]
    assert session["started"].endswith("+00:00")


def test_what_the_libraries_read_is_noted(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of nobody's concern")
    variables = provenance.describe_session([])["variables"]
    assert variables["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert variables["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert not {"OMP_NUM_THREADS", "AWS_SECRET_ACCESS_KEY"} & variables.keys()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux")
def test_instruction_sets_are_those_of_the_processor():
    sets = provenance.describe_session([])["instruction_sets"]
    known = set(Path("/proc/cpuinfo").read_text().split())
    assert sets == sorted(set(sets) & known)
    assert ("avx2" in sets) == ("avx2" in known)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_revision(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", *identity, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance.git_revision(tmp_path) is None
    git("init", "-q")
    assert provenance.git_revision(tmp_path) is None
    (tmp_path / "source.py").write_text("1\n")
    git("add", "source.py")
    git("commit", "-q", "-m", "first")
    revision = git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("x")
    assert provenance.git_revision(tmp_path) == revision
    (tmp_path / "source.py").write_text("2\n")
    assert provenance.git_revision(tmp_path) == f"{revision}-dirty"
    assert provenance.git_revision(tmp_path, ["*.py"]) == f"{revision}-dirty"
    assert provenance.git_revision(tmp_path, ["*.csv"]) == revision
    git("commit", "-q", "-a", "-m", "second")
    second = git("rev-parse", "HEAD")
    (tmp_path / "results.csv").write_text("a\n")
    git("add", "results.csv")
    git("commit", "-q", "-m", "results")
    assert provenance.git_revision(tmp_path) == git("rev-parse", "HEAD")
    assert provenance.git_revision(tmp_path, ["*.py"]) == second
    assert provenance.git_changes(tmp_path) == ""
    (tmp_path / "source.py").write_text("3\n")
    assert "+3" in provenance.git_changes(tmp_path, ["*.py"])
    assert provenance.git_changes(tmp_path, ["*.csv"]) == ""
    (tmp_path / "inner").mkdir()
    assert provenance.git_revision(tmp_path / "inner") is None


def test_without_git(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert provenance.git_revision(tmp_path) is None
