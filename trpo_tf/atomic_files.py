"""Files and directories that appear whole or not at all, whatever moment the process is killed at.

Everything is written under a temporary name beside its final place (so on the same file system),
brought to the disk with fsync, and then renamed, which the file system does in one step. A killed
writer leaves at most a temporary that carries the prefix `TEMPORARY_PREFIX`; writers hold a lock
on theirs, so `remove_stale_temporaries` can tell a dead writer's leavings from a living one's work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic_directory(final_path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a directory to fill, which takes its final name only once all of it is on the disk.

    Parents are made when missing. When the body raises, the temporary is removed and nothing
    appears at the final path.

    Args:
        final_path: where the directory shall appear; nothing may be there yet.

    Yields:
        The temporary directory, on the same file system.

    Raises:
        FileExistsError: something is at the final path, before or after the body.
        OSError: the directory cannot be written; names the path.

    >>> import pathlib, tempfile
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "whole"
    >>> with atomic_directory(place) as directory:
    ...     _ = (directory / "numbers.txt").write_text("1 2 3")
    >>> [path.name for path in place.iterdir()], [path.name for path in place.parent.iterdir()]
    (['numbers.txt'], ['whole'])
    """
    final = Path(final_path)
    _refuse_existing(final)
    make_directories(final.parent)
    temporary, descriptor = _locked_temporary_directory(final)
    try:
        try:
            with errors_naming(final):
                yield temporary
            _fsync_tree(temporary)
            _refuse_existing(final)
            _rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_directory(final.parent)
    finally:
        os.close(descriptor)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Replaces (or makes) a UTF-8 text file in one step: readers see the old text or the new.

    Args:
        path: the file; its directory must exist.
        text: the whole new content.

    Raises:
        OSError: the file cannot be written; names the path. The old file is then untouched.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> atomic_write_text(path, "first\n")
    >>> atomic_write_text(path, "second\n")
    >>> path.read_text()
    'second\n'
    """
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces (or makes) a file in one step: readers see the old content or the new.

    Raises:
        OSError: the file cannot be written; names the path. The old file is then untouched.
    """
    final = Path(path)
    temporary = _temporary_name(final)
    # 0o666 is cut by the umask: the file gets the rights that any other file of the user would.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with errors_naming(final), os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    fsync_directory(final.parent)


def remove_directory(path: str | os.PathLike[str]) -> None:
    """Removes a directory so that nobody ever sees half of it: renamed first, deleted after.

    Args:
        path: the directory; a link to one is removed as a link.

    Raises:
        OSError: it cannot be renamed or deleted.
    """
    doomed = _temporary_name(Path(path))
    os.rename(path, doomed)
    # Someone's cleaning may be at it too.
    with contextlib.suppress(FileNotFoundError):
        if doomed.is_symlink() or not doomed.is_dir():
            doomed.unlink()
        else:
            shutil.rmtree(doomed)


def remove_stale_temporaries(directory: str | os.PathLike[str]) -> list[str]:
    """Removes what killed writers left in a directory, and nothing that is still being written.

    Args:
        directory: where `atomic_directory`, `atomic_write_text` or `remove_directory` worked.

    Returns:
        The names that were removed.

    Raises:
        OSError: a leftover cannot be removed.
    """
    removed = []
    for entry in sorted(os.scandir(directory), key=lambda found: found.name):
        if entry.name.startswith(TEMPORARY_PREFIX) and _remove_if_abandoned(entry):
            removed.append(entry.name)
    return removed


def make_directories(path: str | os.PathLike[str]) -> None:
    """Makes a directory and its missing parents, and brings their names to the disk.

    Raises:
        NotADirectoryError: something that is no directory is in the way; names it.
        OSError: it cannot be made.
    """
    missing = Path(path)
    made = []
    while not os.path.lexists(missing):
        made.append(missing)
        missing = missing.parent
    if not missing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where a directory must be", str(missing))
    for directory in reversed(made):
        directory.mkdir(exist_ok=True)
        fsync_directory(directory.parent)


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Brings a directory's entries (new names, renames) to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot fsync a directory; they order renames themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the path to system errors that come without one (a full disk, a file-size limit)."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "already exists and is not overwritten", str(path))


def _temporary_name(final: Path) -> Path:
    return final.parent / f"{TEMPORARY_PREFIX}{final.name}-{secrets.token_hex(6)}"


def _locked_temporary_directory(final: Path) -> tuple[Path, int]:
    while True:
        temporary = _temporary_name(final)
        temporary.mkdir()
        try:
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Someone's cleaning may have come between the making and the locking.
        if temporary.is_dir() and os.path.samestat(os.fstat(descriptor), os.stat(temporary)):
            return temporary, descriptor
        os.close(descriptor)


def _rename(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError as error:
        # Another's directory came between the look and the renaming.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from error


def _fsync_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(folder, name)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                with errors_naming(path):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(folder)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> bool:
    try:
        # Network file systems lock a file alone that may be written. O_NONBLOCK: a pipe under such
        # a name must not hang the cleaning.
        access = os.O_RDONLY if entry.is_dir(follow_symlinks=False) else os.O_RDWR
        descriptor = os.open(entry.path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        os.unlink(entry.path)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        try:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        except FileNotFoundError:
            # Its owner was removing it.
            return False
        return True
    finally:
        os.close(descriptor)
