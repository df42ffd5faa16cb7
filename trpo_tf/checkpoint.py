"""Checkpoints that are whole or absent, and resume that never starts over in silence.

`<directory>/<step, nine digits>/` holds the variables (TensorFlow's format), `state.json` (plain
counters), `arrays.npz` where arrays were given, and `manifest.json` (size and SHA-256 of each
file). A checkpoint is written under a temporary name, brought to the disk and renamed, so a kill at
any moment leaves the older ones whole; older ones go only after the new one is in place.
`tf.train.CheckpointManager` gives neither this nor a fall-back, and takes a lost index file for a
fresh start.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trpo_tf import atomic_files, manifest, named_variables, npz_file
from trpo_tf.plain_file import read_plain_file

_VARIABLES = "variables"
_STATE = "state.json"
_ARRAYS = "arrays.npz"
_REQUIRED = (_STATE, f"{_VARIABLES}.index", f"{_VARIABLES}.data-00000-of-00001")
_MOST_STATE_BYTES = 16_000_000
_REPLACED = ".replaced"
_DAMAGED = "damaged-"
_ENTRY = re.compile(rf"(\d{{9,18}})({re.escape(_REPLACED)})?", re.ASCII)


class Checkpoint(NamedTuple):
    """A checkpoint on disk that was found whole.

    Attributes:
        step: the number that it was saved under (updates made).
        path: its directory.
    """

    step: int
    path: Path


def save_checkpoint(
    directory: str | os.PathLike[str],
    step: int,
    trackables: Mapping[str, Any],
    state: Mapping[str, Any],
    keep: int = 3,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes a checkpoint in one step and then removes all but the last few.

    A damaged checkpoint of this or a later step (left behind when a run fell back to an older one)
    is renamed to `damaged-…`; a whole one of this step is replaced.

    Args:
        directory: where the checkpoints are; made when missing.
        step: a number that grows from one checkpoint to the next, such as the count of updates.
        trackables: what holds variables, by name; see `named_variables`.
        state: JSON-able counters (numbers, texts, lists, dictionaries; NumPy scalars become plain).
        keep: how many checkpoints stay, at least 1.
        arrays: numbers that come back bit for bit, by name; None: there are none.

    Returns:
        The directory of the new checkpoint.

    Raises:
        ValueError: `step` or `keep` is out of range, or a later whole checkpoint exists.
        TypeError: the state holds what JSON cannot, or an array something else than numbers.
        OSError: it cannot be written; names the path. Checkpoints that exist stay.

    >>> import tempfile, tensorflow as tf
    >>> directory, weight = tempfile.mkdtemp(), tf.Variable(1.0, name="weight")
    >>> _ = save_checkpoint(directory, 7, {"weight": weight}, {"env_steps": 100})
    >>> _ = weight.assign(2.0)
    >>> checkpoint = latest_checkpoint(directory)
    >>> restore_checkpoint(checkpoint, {"weight": weight}), checkpoint.step, float(weight)
    ({'env_steps': 100}, 7, 1.0)
    """
    if keep < 1:
        raise ValueError(f"keep must be >= 1, got {keep}. Typical is 3.")
    if step < 0:
        raise ValueError(f"step must be >= 0, got {step}. Use the count of updates.")
    variables = named_variables.named_variables(trackables)
    state_text = json.dumps(_plain(state, "state"), indent=1) + "\n"
    folder = Path(directory)
    atomic_files.make_directories(folder)
    atomic_files.remove_stale_temporaries(folder)
    _make_way(folder, step)
    final = folder / f"{step:09d}"
    with atomic_files.atomic_directory(final) as temporary:
        named_variables.write_variables(temporary / _VARIABLES, variables)
        (temporary / _STATE).write_text(state_text, encoding="utf-8")
        if arrays is not None:
            (temporary / _ARRAYS).write_bytes(npz_file.npz_bytes(arrays))
        manifest.write_manifest(temporary, _label(step))
    _remove_old(folder, keep)
    return final


def latest_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint | None:
    """Finds the newest checkpoint whose every byte is as it was written.

    Damaged ones are passed over with one warning that names each and says what is wrong with it.

    Args:
        directory: as given to `save_checkpoint`; it need not exist.

    Returns:
        The checkpoint; None where none was ever completed.

    Raises:
        ValueError: there are checkpoints but none is whole. Starting over is then for the user to
          decide.
        OSError: the directory cannot be read.
    """
    folder = Path(directory)
    damages: list[str] = []
    for step, path in _entries(folder):
        damage = _damage(step, path)
        if damage is None:
            if damages:
                warnings.warn(
                    f"Passed over damaged checkpoints in {folder}: {'; '.join(damages)}. "
                    f"Falling back to {path.name}.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return Checkpoint(step, path)
        damages.append(f"{path.name}: {damage}")
    damages += [f"{path.name}: set aside earlier" for path in _set_aside(folder)]
    if damages:
        raise ValueError(
            f"No checkpoint in {folder} is whole ({'; '.join(damages)}). Put one back from a "
            "backup, or move the directory away to start over."
        )
    return None


def restore_checkpoint(
    checkpoint: Checkpoint, trackables: Mapping[str, Any], subset: bool = False
) -> dict[str, Any]:
    """Gives variables the values that they had, bit for bit: all of them or, on an error, none.

    Args:
        checkpoint: from `latest_checkpoint`.
        trackables: as given to `save_checkpoint`; the same names, architectures and dtypes.
        subset: whether the checkpoint may hold more objects than are restored here.

    Returns:
        The state that was saved with the variables.

    Raises:
        ValueError: a variable is missing on either side or has another shape or dtype; the message
          names it with both. No variable has changed then.
    """
    variables = named_variables.named_variables(trackables)
    state = read_state(checkpoint)
    named_variables.read_variables(checkpoint.path / _VARIABLES, variables, subset)
    return state


def read_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """The counters of a checkpoint, without its variables.

    Raises:
        ValueError: they cannot be read.
    """
    path = checkpoint.path / _STATE
    try:
        state = json.loads(read_plain_file(path, _MOST_STATE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(state).__name__}.")
    return state


def read_arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray] | None:
    """The arrays that were saved beside the state, read-only; None if there were none.

    Raises:
        ValueError: they cannot be read.
        OSError: they must not be read.
    """
    path = checkpoint.path / _ARRAYS
    return npz_file.read_npz(path) if os.path.lexists(path) else None


def _label(step: int) -> str:
    return f"checkpoint {step}"


def _damage(step: int, path: Path) -> str | None:
    return manifest.find_damage(path, _label(step), _REQUIRED)


def _entries(folder: Path) -> Iterator[tuple[int, Path]]:
    """Checkpoints, newest first, whole or not."""
    names = os.listdir(folder) if os.path.lexists(folder) else []
    matches = [match for match in map(_ENTRY.fullmatch, names) if match]
    # A replaced one counts less than its replacement, which a kill may have prevented.
    for match in sorted(matches, key=lambda match: (int(match[1]), not match[2]), reverse=True):
        yield int(match[1]), folder / match[0]


def _set_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_DAMAGED}*"))


def _make_way(folder: Path, step: int) -> None:
    for existing, path in list(_entries(folder)):
        if existing < step:
            return
        damage = _damage(existing, path)
        if damage is None and existing > step:
            raise ValueError(
                f"step must not go back: {folder} holds a whole checkpoint of step {existing}, "
                f"got {step}. Continue from it, or save elsewhere."
            )
        is_replaced = path.name.endswith(_REPLACED)
        if damage is None and is_replaced:
            continue
        aside = path.with_name(f"{_DAMAGED}{path.name}" if damage else path.name + _REPLACED)
        if os.path.lexists(aside):
            atomic_files.remove_directory(aside)
        os.rename(path, aside)


def _remove_old(folder: Path, keep: int) -> None:
    entries = list(_entries(folder))
    outdated = [path for _, path in entries if path.name.endswith(_REPLACED)]
    current = [path for _, path in entries if not path.name.endswith(_REPLACED)]
    for path in outdated + current[keep:]:
        atomic_files.remove_directory(path)


def _plain(value: Any, place: str) -> Any:
    """The value in JSON's own types, checked so that it comes back as it was."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist(), place)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    expected = "numbers, texts, lists and dictionaries with text keys"
    raise TypeError(f"{place} must be made of {expected}, got {type(value).__name__}.")
