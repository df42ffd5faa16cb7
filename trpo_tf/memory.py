"""What the C library keeps of memory: freed memory goes back."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Returns freed memory to the system, where the C library keeps it (glibc); else does nothing.

    Compiling an update takes some 300 MiB for a few seconds, which the process would otherwise
    hold until it ends (measured: 1,211 MiB resident before the call, 934 after it).

    >>> give_back()
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "gnu_get_libc_version"):
        library.malloc_trim(0)
