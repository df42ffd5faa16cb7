"""NumPy's npz files of plain numbers: written without pickles, read as if a stranger wrote them."""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import tokenize
import zipfile
from collections.abc import Mapping
from typing import Literal

import numpy as np

_SUFFIX = ".npy"
_NUMBERS = "biuf"
# Bytes that sizes beyond 4 GiB take in the archive's directory.
_MOST_EXTRA = 32
# What zipfile and NumPy raise on bytes that are no archive or no array.
_DAMAGES = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an npz file, for `numpy.load` too; the same arrays give the same bytes.

    Args:
        arrays: numbers and truth values of any shape, by name.

    Raises:
        TypeError: an array holds anything else, which NumPy would pickle.

    >>> len(npz_bytes({"a": np.arange(3)})) > 24
    True
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if array.dtype.kind not in _NUMBERS:
                raise TypeError(f"{name} must hold numbers, got {array.dtype}.")
            # A ZipInfo of its own has no date of today in it.
            info = zipfile.ZipInfo(name + _SUFFIX)
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz file; every byte of them is verified by its checksum.

    `numpy.load` is not enough: it allocates what a header asks for, and where a header asks for
    less than there is, it never comes to the checksum. No array is larger than the file here.

    Args:
        path: a file of `npz_bytes` or `numpy.savez` (not `savez_compressed`).

    Returns:
        Arrays by name, read-only.

    Raises:
        ValueError: the file is damaged, compressed, or holds something else than plain numbers;
            names it.
        OSError: there is no such file, or it must not be read.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "numbers.npz"
    >>> _ = path.write_bytes(npz_bytes({"a": np.arange(3)}))
    >>> read_npz(path)
    {'a': array([0, 1, 2])}
    """
    # A pipe must not hang the reader.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is no plain file.")
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive, os.fstat(file.fileno()).st_size)
        except _DAMAGES as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ValueError(
                f"{path} is damaged or no npz file of plain numbers ({reason}). Remove it, or put "
                "it back from a backup."
            ) from error


def _read_members(archive: zipfile.ZipFile, num_bytes: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed: write it with numpy.savez")
    # A wrong length there would swallow the members that follow.
    if any(member.comment or len(member.extra) > _MOST_EXTRA for member in members):
        raise ValueError("it holds comments")
    if sum(member.file_size for member in members) > num_bytes:
        raise ValueError("its parts are larger than the whole")
    arrays = {
        member.filename.removesuffix(_SUFFIX): _read_array(archive.read(member))
        for member in members
    }
    if len(arrays) < len(members):
        raise ValueError("two arrays have one name")
    return arrays


def _read_array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    shape, is_fortran, dtype = _read_header(stream)
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"it holds {dtype} instead of numbers")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != len(content) - stream.tell():
        raise ValueError(f"an array of shape {list(shape)} does not fit its bytes")
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    return np.ndarray(shape, dtype, content, stream.tell(), order=order)


def _read_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the npy format")
    try:
        return readers[version](stream)
    except MemoryError as error:
        # Python's parser says so of brackets and signs that are nested too deep.
        raise ValueError("a header that cannot be parsed") from error
