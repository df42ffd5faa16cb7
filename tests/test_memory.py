from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from trpo_tf import memory

BLOCK, COUNT = 2**16, 2000


def resident() -> int:
    """Bytes of this process that are in memory."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) * 1024


ONLY_GLIBC = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc keeps freed memory, and a heap for each thread",
)

THREADS = """
import ctypes, threading
from trpo_tf import memory
{call}
library = ctypes.CDLL(None)
together = threading.Barrier(4)
def take():
    together.wait()
    library.malloc(100)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
library.fflush(None)
"""


@ONLY_GLIBC
def test_threads_share_a_heap():
    counts = {}
    for call in ("", "memory.share_heap()"):
        program = [sys.executable, "-c", THREADS.format(call=call)]
        counts[call] = subprocess.check_output(program, text=True).count("<heap nr=")
    assert counts[""] > 1
    assert counts["memory.share_heap()"] == 1


@ONLY_GLIBC
def test_freed_memory_goes_back():
    blocks = [bytearray(BLOCK) for _ in range(COUNT)]
    pinned = blocks.pop()  # A block in use above them: without help they stay.
    del blocks
    before = resident()
    memory.give_back()
    assert before - resident() > BLOCK * COUNT // 2
    assert len(pinned) == BLOCK
