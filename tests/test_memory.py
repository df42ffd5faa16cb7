from __future__ import annotations

import ctypes
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


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc keeps freed memory",
)
def test_freed_memory_goes_back():
    blocks = [bytearray(BLOCK) for _ in range(COUNT)]
    pinned = blocks.pop()  # A block in use above them: without help they stay.
    del blocks
    before = resident()
    memory.give_back()
    assert before - resident() > BLOCK * COUNT // 2
    assert len(pinned) == BLOCK
