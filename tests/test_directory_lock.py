from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trpo_tf import directory_lock
from trpo_tf.directory_lock import DirectoryLock


def test_held_until_released(tmp_path):
    first = DirectoryLock(tmp_path)
    for _ in range(2):
        with pytest.raises(BlockingIOError, match=f"Process {os.getpid()} is training in"):
            DirectoryLock(tmp_path)
    first.release()
    first.release()
    DirectoryLock(tmp_path).release()
    assert os.listdir(tmp_path) == [".lock"]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (Path.symlink_to, r"\.lock"),
        (Path.hardlink_to, r"a hard link to another file, remove it: .*\.lock"),
    ],
    ids=["symbolic", "hard"],
)
def test_another_file_is_not_written_to_by_a_link(tmp_path, link, words):
    target = tmp_path / "target"
    target.write_text("precious")
    link(tmp_path / ".lock", target)
    with pytest.raises(OSError, match=words):
        DirectoryLock(tmp_path)
    assert target.read_text() == "precious"


HOLDER = """
import os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from trpo_tf.directory_lock import DirectoryLock
lock = DirectoryLock(Path({path!r}))
if os.fork() == 0:
    time.sleep(60)  # a worker that outlives the killed holder
    os._exit(0)
print("holding", flush=True)
time.sleep(60)
"""


def test_holds_against_other_processes_and_dies_with_its_own(tmp_path):
    root = Path(directory_lock.__file__).parents[1]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(root=str(root), path=str(tmp_path))],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holding\n"
        with pytest.raises(BlockingIOError, match=f"Process {holder.pid} is training in"):
            DirectoryLock(tmp_path)
        holder.kill()
        holder.wait()
        DirectoryLock(tmp_path).release()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
