"""One writer at a time in a directory, even after a writer was killed."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_NAME = ".lock"

# The system's lock belongs to the process, so two holders inside one process are kept apart here.
_held_here: set[tuple[int, int]] = set()


class DirectoryLock:
    """The right to write to a directory, held until it is released or the process dies.

    The system frees it however the process dies, so the file `.lock` that stays behind blocks
    nobody. It is not passed on to forked worker processes, which may outlive a killed one.

    Args:
        directory: an existing one.

    Raises:
        BlockingIOError: another process, or this one, holds it already.
        OSError: the lock's file cannot be made, or is a hard link; names the path.

    >>> import tempfile
    >>> lock = DirectoryLock(Path(tempfile.mkdtemp()))
    >>> lock.release()
    """

    def __init__(self, directory: Path) -> None:
        path = directory / _NAME
        # In this process the file must not even be opened twice: closing it frees the first lock.
        if os.path.lexists(path) and _identity(os.lstat(path)) in _held_here:
            raise _busy(directory, str(os.getpid()))
        mode = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(path, mode, 0o666)
        try:
            if os.fstat(self._descriptor).st_nlink > 1:
                # A hard link: what is written to it is written to a file of somewhere else.
                raise OSError(errno.EMLINK, "a hard link to another file, remove it", str(path))
            self._acquire(directory)
        except BaseException:
            os.close(self._descriptor)
            raise
        _held_here.add(_identity(os.fstat(self._descriptor)))

    def release(self) -> None:
        """Lets others write; calling it again does nothing more."""
        if self._descriptor >= 0:
            _held_here.discard(_identity(os.fstat(self._descriptor)))
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquire(self, directory: Path) -> None:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise OSError(error.errno, error.strerror, str(directory / _NAME)) from error
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            raise _busy(directory, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _busy(directory: Path, holder: str) -> BlockingIOError:
    return BlockingIOError(
        f"Process {holder} is training in {directory}. Wait for it or stop it, or choose another "
        "logdir."
    )
