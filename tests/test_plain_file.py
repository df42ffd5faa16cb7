"""Plain files are read; all else that may lie under a name is refused, at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trpo_tf.plain_file import read_plain_file


def test_a_plain_file_of_the_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"123")
    assert read_plain_file(path, most_bytes=3) == b"123"
    with pytest.raises(ValueError, match="numbers has 3 bytes, more than 2"):
        read_plain_file(path, most_bytes=2)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "socket"])
def test_what_is_no_plain_file(kind: str, tmp_path: Path) -> None:
    path, target = tmp_path / "it", tmp_path / "target"
    target.write_bytes(b"123")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK)
    with pytest.raises(ValueError, match="it is no plain file"):
        read_plain_file(path, most_bytes=10)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_plain_file(tmp_path / "absent", most_bytes=10)
