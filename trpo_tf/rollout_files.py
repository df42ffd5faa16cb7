"""Rollouts on disk: one npz file of plain numbers each, with the spaces that they belong to."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf import atomic_files
from trpo_tf.alike_spaces import are_alike
from trpo_tf.npz_file import npz_bytes, read_npz
from trpo_tf.rollout_check import check_rollout
from trpo_tf.rollout_form import NOT_CURRENT, RolloutForm
from trpo_tf.space_json import space_from_json, space_to_json
from trpo_tf.types import Rollout

_SUFFIX = ".npz"
_FORMAT = "trpo_tf rollout 1"
# The array whose bytes are the JSON text of the format and the spaces.
_RECORD = "record"


def save_rollout(
    path: str | os.PathLike[str],
    rollout: Any,
    observation_space: gym.Space,
    action_space: gym.Space,
) -> None:
    """Writes a rollout to a file of its own, which appears whole or not at all.

    The file is an npz of plain numbers that `numpy.load` reads too: the fields of `Rollout` (parts
    of observations as `observations['camera']`), and the spaces as JSON text in bytes. Parents are
    made when missing.

    Args:
        path: a new file, whose name ends in .npz.
        rollout: a `Rollout` or a dictionary with its names, as `checked_rollouts` takes it.
        observation_space: of one environment.
        action_space: of one environment.

    Raises:
        FileExistsError: there is something at the path, which is left as it is.
        TypeError, ValueError: the rollout or the path is not as it must be; says how.
        OSError: the file cannot be written; names the path.

    Example:
        As for `read_rollouts`.
    """
    file = Path(path)
    if file.suffix != _SUFFIX:
        raise ValueError(f"a rollout's file must end in {_SUFFIX}, got {file}.")
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, "already exists and is not overwritten", str(file))
    checked = check_rollout(rollout, observation_space, action_space)
    record = {
        "format": _FORMAT,
        "observation_space": space_to_json(observation_space),
        "action_space": space_to_json(action_space),
    }
    text = json.dumps(record).encode("utf-8")
    leaves = RolloutForm(observation_space, action_space).leaves(checked)
    content = npz_bytes({_RECORD: np.frombuffer(text, np.uint8), **leaves})
    atomic_files.make_directories(file.parent)
    atomic_files.atomic_write_bytes(file, content)


def read_rollouts(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    observation_space: gym.Space,
    action_space: gym.Space,
    keep_versions: bool = False,
) -> tf.data.Dataset:
    """A dataset of the rollouts in files of `save_rollout`, read one at a time.

    Every file is read twice: here, all of it, so that a bad one is refused before anything is
    learnt from the others, and when the dataset comes to it, with the same checks; none is read
    ahead unless you `prefetch`. Where all files have the same T or B, the dataset's shapes have it
    too. The parts are compiled anew for each other T or B.

    All rows get policy version −1, as from `checked_rollouts`, which says why.

    Args:
        paths: a directory, whose *.npz files are taken in the order of their names; or one file;
            or files in the order in which they shall come.
        observation_space: of one environment; the files' own may differ from it in the width of
            floats and in the bounds of boxes.
        action_space: of one environment; the files' own may differ from it in the width of floats.
        keep_versions: whether rows keep their policy version: only for what this very policy drew.

    Returns:
        A dataset of as many `Rollout`s as there are files. Where a file has gone bad since,
        reading it raises a `tf.errors.OpError` whose first line names it and says what is wrong.

    Raises:
        FileNotFoundError: there is no such file or directory.
        ValueError: there are no files, or one is damaged, of other spaces, without
            `behaviour_log_probs`, or holds a rollout that cannot be used; names the file and says
            what is wrong.
        OSError: a file cannot be read; names it.

    >>> import tempfile
    >>> spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    >>> directory = Path(tempfile.mkdtemp())
    >>> episode = {
    ...     "observations": np.zeros([4, 1, 3], np.float32),
    ...     "actions": np.zeros([3, 1], np.int64),
    ...     "behaviour_log_probs": np.full([3, 1], np.log(0.5)),
    ...     "rewards": np.ones([3, 1]),
    ...     "terminated": np.zeros([3, 1], bool),
    ...     "truncated": np.zeros([3, 1], bool),
    ... }
    >>> save_rollout(directory / "000.npz", episode, *spaces)
    >>> [rollout.rewards.numpy().ravel().tolist() for rollout in read_rollouts(directory, *spaces)]
    [[1.0, 1.0, 1.0]]
    """
    form = RolloutForm(observation_space, action_space)
    files = _files(paths)

    def read() -> Iterator[Rollout]:
        for file in files:
            rollout = _read(file, observation_space, action_space)
            if not keep_versions:
                versions = np.full_like(rollout.policy_version, NOT_CURRENT)
                rollout = rollout._replace(policy_version=versions)
            yield rollout

    specs: dict[str, Any] = {}
    for file, rollout in zip(files, read(), strict=True):
        for name, leaf in form.leaves(rollout).items():
            spec = tf.TensorSpec(leaf.shape, leaf.dtype)
            specs[name] = _common(file, name, specs.get(name, spec), spec)
    dataset = tf.data.Dataset.from_generator(read, output_signature=form.rollout(specs))
    options = tf.data.Options()
    # Reading ahead, which TensorFlow adds by itself, would hold more rollouts than one.
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(files)))
    return dataset.with_options(options)


def _files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    if not isinstance(paths, str | os.PathLike):
        files = [Path(path) for path in paths]
        if not files:
            raise ValueError("there must be at least one file of a rollout, got none.")
        return files
    path = Path(paths)
    if not path.is_dir():
        return [path]
    files = sorted(path.glob(f"[!.]*{_SUFFIX}"))
    if not files:
        raise ValueError(
            f"{path} holds no {_SUFFIX} files. Write rollouts to it with trpo_tf.save_rollout."
        )
    return files


def _read(file: Path, observation_space: gym.Space, action_space: gym.Space) -> Rollout:
    """The rollout of one file; all of it has been checked."""
    arrays = read_npz(file)
    try:
        record = arrays.pop(_RECORD, None)
        _check_spaces(record, observation_space, action_space)
        return check_rollout(arrays, observation_space, action_space)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be used: {error or type(error).__name__}") from error


def _check_spaces(
    record: np.ndarray | None, observation_space: gym.Space, action_space: gym.Space
) -> None:
    content = None if record is None else json.loads(record.tobytes())
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(
            f"it is no {_FORMAT!r}. Write it with trpo_tf.save_rollout, or give your own dataset "
            "to trpo_tf.checked_rollouts."
        )
    for kind, given in (("observation", observation_space), ("action", action_space)):
        own = space_from_json(content.get(f"{kind}_space"))
        if not are_alike(own, given, exact_bounds=kind == "action"):
            raise ValueError(f"its {kind} space is {own}, expected {given}.")


def _common(file: Path, name: str, known: tf.TensorSpec, found: tf.TensorSpec) -> tf.TensorSpec:
    """The spec of a leaf in this file and in those before it."""
    common = known.most_specific_common_supertype([found])
    if common is None:
        raise ValueError(
            f"{file} holds {name} of {found.dtype.name}, files before it of {known.dtype.name}. "
            "Read them as two datasets."
        )
    return common
