"""A list of a directory's files with their sizes and SHA-256, and what no longer agrees with it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

FILE_NAME = "manifest.json"
_FORMAT = "trpo_tf manifest 1"
_MAX_BYTES = 1_000_000
# Several times what the largest networks need; a sparse file of any size would be hashed for days.
_MOST_FILE_BYTES = 2**36
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def write_manifest(directory: str | os.PathLike[str], label: str) -> None:
    """Writes `manifest.json`, which lists all other files of a directory.

    Args:
        directory: of plain files, without directories.
        label: what the directory is; `find_damage` compares it, so that one directory in the place
          of another is noticed.

    Raises:
        OSError: a file cannot be read or the manifest not written.
    """
    folder = Path(directory)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.iterdir())
    }
    (folder / FILE_NAME).write_text(_canonical(label, files), encoding="utf-8")


def find_damage(
    directory: str | os.PathLike[str], label: str, required: Collection[str] = ()
) -> str | None:
    """Says what is wrong with a directory, or None if every byte is as it was written.

    Only plain files in the directory itself count: no links, no paths that lead elsewhere, nothing
    that is not listed.

    Args:
        directory: a directory that `write_manifest` was called for.
        label: as given to `write_manifest`.
        required: names that must be listed.

    Returns:
        None, or one clause that names the file and what is wrong with it.

    >>> import tempfile
    >>> directory = Path(tempfile.mkdtemp())
    >>> _ = (directory / "numbers").write_text("1 2 3")
    >>> write_manifest(directory, "example")
    >>> find_damage(directory, "example")
    >>> _ = (directory / "numbers").write_text("1 2")
    >>> find_damage(directory, "example")
    'numbers has 3 bytes instead of 5'
    """
    folder = Path(directory)
    try:
        if folder.is_symlink() or not folder.is_dir():
            return "it is no directory"
        files = _read(folder, label)
        if isinstance(files, str):
            return files
        for name in sorted(set(required) - files.keys()):
            return f"{FILE_NAME} does not list {name}"
        for name in sorted(set(os.listdir(folder)) - {*files, FILE_NAME}):
            return f"{name!r:.80} is not listed in {FILE_NAME}"
        damages = (_file_damage(folder / name, entry) for name, entry in files.items())
        return next((damage for damage in damages if damage), None)
    except OSError as error:
        name = Path(str(error.filename)).name if error.filename else "a file"
        return f"{name} cannot be read: {error.strerror}"


def _read(folder: Path, label: str) -> dict[str, Any] | str:
    """The listed files, or why the manifest cannot be trusted."""
    path = folder / FILE_NAME
    if not os.path.lexists(path):
        return f"{FILE_NAME} is missing"
    if not _is_plain_file(path) or path.stat().st_size > _MAX_BYTES:
        return f"{FILE_NAME} is no manifest"
    text = path.read_bytes()
    try:
        content = json.loads(text)
        files = content["files"]
        # Written anew, own digest included, it must give the same bytes: the manifest is then
        # not itself what is damaged.
        is_whole = _canonical(content["label"], files).encode() == text
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        return f"{FILE_NAME} is damaged"
    if content["label"] != label:
        return f"{FILE_NAME} belongs to {content['label']!r}"
    if not files or not all(_PLAIN_NAME.fullmatch(name) for name in files):
        return f"{FILE_NAME} lists no files or names that are not plain"
    return files


def _file_damage(path: Path, entry: dict[str, Any]) -> str | None:
    if not os.path.lexists(path):
        return f"{path.name} is missing"
    if not _is_plain_file(path):
        return f"{path.name} is no plain file"
    size = path.stat().st_size
    if size > _MOST_FILE_BYTES:
        return f"{path.name} has {size} bytes, more than {_MOST_FILE_BYTES}"
    if size != entry["bytes"]:
        return f"{path.name} has {size} bytes instead of {entry['bytes']}"
    if _sha256(path) != entry["sha256"]:
        return f"{path.name} has another SHA-256 than when it was written"
    return None


def _canonical(label: str, files: dict[str, Any]) -> str:
    listed = {
        name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
        for name, entry in files.items()
    }
    content = {"format": _FORMAT, "label": str(label), "files": listed}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, indent=1, sort_keys=True) + "\n"


def _is_plain_file(path: Path) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
