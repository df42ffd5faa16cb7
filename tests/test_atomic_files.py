from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trpo_tf import atomic_files


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_directory_appears_whole_with_its_parents(tmp_path):
    final = tmp_path / "a" / "b" / "final"
    with atomic_files.atomic_directory(final) as directory:
        assert directory.parent == final.parent
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_text("x")
        assert not final.exists()
    assert (final / "inner" / "file").read_text() == "x"
    assert names(final.parent) == ["final"]


def test_failing_body_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), atomic_files.atomic_directory(tmp_path / "final") as directory:
        (directory / "file").write_text("x")
        raise KeyError("body")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_nothing_is_overwritten(tmp_path, kind):
    final = tmp_path / "final"
    if kind == "file":
        final.write_text("mine")
    elif kind == "directory":
        final.mkdir()
    else:
        final.symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(FileExistsError, match="final"),
        atomic_files.atomic_directory(final),
    ):
        pass
    assert names(tmp_path) == ["final"]


def test_directory_that_appeared_meanwhile_is_not_replaced(tmp_path):
    final = tmp_path / "final"
    with pytest.raises(FileExistsError), atomic_files.atomic_directory(final) as directory:
        (directory / "file").write_text("second")
        final.mkdir()
    assert names(tmp_path) == ["final"]
    assert names(final) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_system_errors_are_raised_and_named(tmp_path, monkeypatch, call):
    def fail(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with (
        pytest.raises(OSError, match="No space left") as raised,
        atomic_files.atomic_directory(tmp_path / "final") as directory,
    ):
        (directory / "file").write_text("x")
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_full_disk_names_the_path(tmp_path):
    with (
        pytest.raises(OSError, match="final") as raised,
        atomic_files.atomic_directory(tmp_path / "final"),
        open("/dev/full", "w") as full,
    ):
        full.write("x")
        full.flush()
    assert raised.value.errno == errno.ENOSPC


def test_permission_error_is_not_swallowed(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "final"))

    monkeypatch.setattr(Path, "mkdir", fail)
    with (
        pytest.raises(PermissionError, match="final"),
        atomic_files.atomic_directory(tmp_path / "final"),
    ):
        pass


def test_file_in_the_place_of_a_parent(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(NotADirectoryError, match="file"),
        atomic_files.atomic_directory(tmp_path / "file" / "final"),
    ):
        pass


def test_text_is_replaced_and_kept_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    atomic_files.atomic_write_text(path, "ärger\n")
    assert path.read_text(encoding="utf-8") == "ärger\n"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode

    def fail(*_args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"note\.txt"):
        atomic_files.atomic_write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "ärger\n"
    assert names(tmp_path) == ["note.txt", "plain"]


def test_remove_directory(tmp_path):
    doomed = tmp_path / "doomed"
    (doomed / "inner").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    atomic_files.remove_directory(doomed)
    atomic_files.remove_directory(tmp_path / "link")
    assert names(tmp_path) == ["kept"]
    with pytest.raises(FileNotFoundError):
        atomic_files.remove_directory(doomed)


def test_stale_temporaries_go_and_living_ones_stay(tmp_path):
    (tmp_path / ".tmp-old-directory").mkdir()
    (tmp_path / ".tmp-old-directory" / "file").write_text("x")
    (tmp_path / ".tmp-old-file").write_text("x")
    (tmp_path / ".tmp-link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / ".tmp-pipe")
    (tmp_path / "000000001").mkdir()
    with atomic_files.atomic_directory(tmp_path / "final"):
        removed = atomic_files.remove_stale_temporaries(tmp_path)
    assert removed == [".tmp-link", ".tmp-old-directory", ".tmp-old-file", ".tmp-pipe"]
    assert names(tmp_path) == ["000000001", "final"]


WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from trpo_tf import atomic_files
with atomic_files.atomic_directory({final!r}) as directory:
    (directory / "half").write_text("x")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_temporary_of_a_killed_writer_is_removed_only_after_its_death(tmp_path):
    root = str(Path(atomic_files.__file__).parents[1])
    code = WRITER.format(root=root, final=str(tmp_path / "final"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        assert atomic_files.remove_stale_temporaries(tmp_path) == []
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    deadline = time.monotonic() + 5.0
    while not atomic_files.remove_stale_temporaries(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert names(tmp_path) == []
