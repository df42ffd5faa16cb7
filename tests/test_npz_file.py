"""Files of numbers: there and back, damaged anywhere, and made by someone who means harm."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trpo_tf.npz_file import npz_bytes, read_npz

ARRAYS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "bytes": np.arange(256, dtype=np.uint8),
    "flags": np.array([[True], [False]]),
    "scalar": np.array(-3, np.int64),
    "empty": np.zeros([0, 5], np.float16),
    "parts['ö/b']": np.arange(3, dtype=np.int8),
}

FEW = {
    "bytes": np.arange(100, 132, dtype=np.uint8),
    "parts['ö/b']": np.array([[1.5], [2.5]], np.float32),
    "flags": np.array([True, False]),
}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + content


def shape_header(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "numbers.npz"
    path.write_bytes(npz_bytes(ARRAYS))
    found = read_npz(path)
    assert_same(found, ARRAYS)
    assert not any(array.flags.writeable for array in found.values())
    with np.load(path, allow_pickle=False) as loaded:
        assert_same(dict(loaded), ARRAYS)


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "numbers.npz", **ARRAYS)
    assert_same(read_npz(tmp_path / "numbers.npz"), ARRAYS)


def test_equal_arrays_give_equal_bytes() -> None:
    copies = {name: array.copy(order="K") for name, array in ARRAYS.items()}
    assert npz_bytes(ARRAYS) == npz_bytes(copies)


@pytest.mark.parametrize(
    "array", [np.array([None]), np.array(["text"]), np.array([1j]), np.zeros(2, "i4,f4")]
)
def test_other_than_numbers_is_not_written(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"^what must hold numbers, got "):
        npz_bytes({"what": array})


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.npz"
    content = npz_bytes(FEW)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"numbers\.npz is damaged or no npz file"):
            read_npz(path)


def test_a_byte_turned_anywhere_is_refused_or_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "numbers.npz"
    content = npz_bytes(FEW)
    numbers = content.index(FEW["bytes"].tobytes())
    for position in range(len(content)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= bits
            path.write_bytes(damaged)
            message = ""
            try:
                found = read_npz(path)
            except ValueError as error:
                message = str(error)
            if message:
                assert str(path) in message
                assert "\n" not in message
                continue
            assert not numbers <= position < numbers + FEW["bytes"].size
            # A name outside of ASCII is read otherwise where the archive says so.
            assert_same(dict(zip(FEW, found.values(), strict=True)), FEW)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "damaged"),
    "text": (b"not an archive", "damaged"),
    "npy": (npy(shape_header("(0,)")), "damaged"),
    "no_array": (archive({"a.npy": b"text"}), "magic string"),
    "huge": (archive({"a.npy": npy(shape_header(f"({2**50},)"))}), "does not fit its bytes"),
    "huge_beyond": (archive({"a.npy": npy(shape_header(f"({2**200},)"))}), "not fit its bytes"),
    "huge_and_empty": (archive({"a.npy": npy(shape_header(f"(0, {2**63})"))}), "damaged"),
    "negative": (archive({"a.npy": npy(shape_header("(-1, -1)"), bytes(8))}), "not fit its bytes"),
    "less": (archive({"a.npy": npy(shape_header("(1,)"), bytes(16))}), "not fit its bytes"),
    "structure": (archive({"a.npy": npy(shape_header("(0,)", "[('x', '<f8')]"))}), "of numbers"),
    "text_array": (archive({"a.npy": npy(shape_header("(1,)", "'<U2'"), bytes(8))}), "of numbers"),
    "version": (archive({"a.npy": npy(shape_header("(0,)"), version=b"\x03\x00")}), "version"),
    "deep": (archive({"a.npy": npy("-" * 9000 + "1")}), "header that cannot be parsed"),
    "long": (archive({"a.npy": npy(" " * 20000 + shape_header("(0,)"))}), "damaged"),
    "call": (archive({"a.npy": npy(shape_header("__import__('os').abort()"))}), "damaged"),
    "compressed": (
        archive({"a.npy": npy(shape_header("(100,)"), bytes(800))}, zipfile.ZIP_DEFLATED),
        "compressed: write it with numpy.savez",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    path = tmp_path / "stranger.npz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as raised:
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_pickles_are_never_read(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung)], object)
    np.savez(tmp_path / "object.npz", trap=trap)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(trap))
    (tmp_path / "member.npz").write_bytes(archive({"a.npy": pickle.dumps(trap)}))
    for name in ("object", "pickle", "member"):
        with pytest.raises(ValueError, match=f"{name}.npz is damaged or no npz file"):
            read_npz(tmp_path / f"{name}.npz")
    assert not sprung.exists()


def test_sizes_beyond_the_file_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy(shape_header("(0,)")))
        # What the directory at the end will say.
        file.infolist()[0].file_size = 2**31
    with pytest.raises(ValueError, match="its parts are larger than the whole"):
        read_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.npz"
    with zipfile.ZipFile(path, "w") as file:
        for _ in range(2):
            file.writestr("a.npy", npy(shape_header("(0,)")))
    with pytest.raises(ValueError, match="two arrays have one name"):
        read_npz(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        read_npz(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="is no plain file"):
        read_npz(tmp_path)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match=r"pipe\.npz is no plain file"):
        read_npz(tmp_path / "pipe.npz")
