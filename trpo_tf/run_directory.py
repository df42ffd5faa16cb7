"""The directory of a training run: what lies where, and who may write there.

config.json         settings with their origins, spaces, versions (run_record)
progress.csv        one row an update (metrics)
tensorboard/        the same as TensorBoard events
checkpoints/        the last few (checkpoint)
best_policy/        the exported policy of the best evaluation, if asked for
learning_curve.png  at the end
.lock               held by the training process; the system frees it when the process dies
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras

from trpo_tf import assembly, atomic_files, checkpoint, run_record
from trpo_tf.config import TRPOConfig
from trpo_tf.directory_lock import DirectoryLock
from trpo_tf.run_record import RunRecord
from trpo_tf.trpo import TRPO

_CONFIG = "config.json"
_DIRECTORIES = ("checkpoints", "tensorboard", "best_policy")
_FILES = (_CONFIG, "progress.csv", "learning_curve.png")


class RunDirectory:
    """A run directory that this process alone may write to, until it is closed.

    Made by `RunDirectory.create` or `RunDirectory.resume`; also a context manager.

    Attributes:
        path: the directory.
        record: what `config.json` says.

    >>> import tempfile, gymnasium as gym
    >>> spaces = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)
    >>> record = RunRecord(TRPOConfig(env="CartPole-v1"), {}, *spaces)
    >>> path = Path(tempfile.mkdtemp()) / "run"
    >>> with RunDirectory.create(path, record) as run:
    ...     run.config_path.name, run.progress_path.name
    ('config.json', 'progress.csv')
    >>> with RunDirectory.resume(path) as run:
    ...     run.record.config.env
    'CartPole-v1'
    """

    def __init__(self, path: Path, record: RunRecord, lock: DirectoryLock) -> None:
        self.path = path
        self.record = record
        self._lock = lock

    @classmethod
    def create(cls, path: str | os.PathLike[str], record: RunRecord) -> RunDirectory:
        """Begins a run in a new directory, or in one that holds none.

        Raises:
            FileExistsError: the directory holds a run; nothing in it is changed.
            OSError: it cannot be made, written or locked; names the path.
        """
        directory = Path(path)
        with _clear_errors(directory):
            _refuse_run(directory)
            atomic_files.make_directories(directory)
            lock = DirectoryLock(directory)
            try:
                _refuse_run(directory)
                run_record.write_record(directory / _CONFIG, record)
            except BaseException:
                lock.release()
                raise
        return cls(directory, record, lock)

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Takes up the run that a directory holds.

        Raises:
            FileNotFoundError: the directory holds no run.
            ValueError: `config.json` is damaged, or something in the directory is a link or not
                of the kind that a run makes.
            OSError: it cannot be written, or another process trains in it; names the path.
        """
        directory = Path(path)
        with _clear_errors(directory):
            check_entries(directory)
            lock = DirectoryLock(directory)
        try:
            record = run_record.read_record(directory / _CONFIG)
            with _clear_errors(directory):
                atomic_files.remove_stale_temporaries(directory)
        except BaseException:
            lock.release()
            raise
        return cls(directory, record, lock)

    @property
    def config_path(self) -> Path:
        """Settings, origins, spaces and versions."""
        return self.path / _CONFIG

    @property
    def progress_path(self) -> Path:
        """One row an update."""
        return self.path / "progress.csv"

    @property
    def checkpoints_path(self) -> Path:
        """For `save_checkpoint` and `latest_checkpoint`."""
        return self.path / "checkpoints"

    @property
    def tensorboard_path(self) -> Path:
        """TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def best_policy_path(self) -> Path:
        """Where the policy of the best evaluation is exported."""
        return self.path / "best_policy"

    @property
    def learning_curve_path(self) -> Path:
        """The picture of the run."""
        return self.path / "learning_curve.png"

    def rewrite_record(self, record: RunRecord) -> None:
        """Replaces `config.json` in one step, when a resumed run notes its session, say.

        Raises:
            OSError: it cannot be written; names the path.
        """
        with _clear_errors(self.path):
            run_record.write_record(self.config_path, record)
        self.record = record

    def close(self) -> None:
        """Lets others train here; calling it again does nothing more."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Run(NamedTuple):
    """What a run directory gives back.

    Attributes:
        policy: with the weights and statistics of the last whole checkpoint.
        value_function: the same.
        config: the run's settings.
        trpo: ready to go on with `trpo.update`, optimiser state included.
        record: spaces, origins of the settings, versions.
        step: updates that the checkpoint was saved after.
        state: the counters saved with it.
    """

    policy: keras.Model
    value_function: keras.Model
    config: TRPOConfig
    trpo: TRPO
    record: RunRecord
    step: int
    state: dict[str, Any]


def load_run(logdir: str | os.PathLike[str]) -> Run:
    """Gives back the trainable policy and value function of a run, and all that trains them.

    Needs neither the environment nor the lock, and writes nothing.

    Args:
        logdir: a run directory.

    Raises:
        FileNotFoundError: the directory holds no run, or no checkpoint yet.
        ValueError: `config.json` or all checkpoints are damaged, or they do not fit together.
    """
    directory = Path(logdir)
    check_entries(directory)
    record = run_record.read_record(directory / _CONFIG)
    found = checkpoint.latest_checkpoint(directory / "checkpoints")
    if found is None:
        raise FileNotFoundError(f"{directory} holds no checkpoint yet. Train it for longer.")
    models = assembly.make_models(record.config, record.observation_space, record.action_space)
    trpo = assembly.make_trpo(record.config, models)
    state = checkpoint.restore_checkpoint(found, trpo.checkpointables(), subset=True)
    return Run(*models, record.config, trpo, record, found.step, state)


def _refuse_run(directory: Path) -> None:
    for name in (*_FILES, *_DIRECTORIES):
        if os.path.lexists(directory / name):
            raise FileExistsError(
                f"{directory} already holds a run ({name}). Continue it with --resume, or choose "
                "another logdir."
            )


def check_entries(directory: Path) -> None:
    """Checks that a directory holds a run, of plain files and directories only.

    Raises:
        FileNotFoundError: it holds no run.
        ValueError: an entry is a link or not of the kind that a run makes; names it.
    """
    if not os.path.lexists(directory / _CONFIG):
        raise FileNotFoundError(
            f"{directory} holds no run ({_CONFIG} is missing). Start one without --resume, or "
            "correct the logdir."
        )
    # A link could lead the writing, or the removing of old checkpoints, to somewhere else; a pipe
    # would hang the reading.
    kinds = dict.fromkeys(_FILES, stat.S_ISREG) | dict.fromkeys(_DIRECTORIES, stat.S_ISDIR)
    for name, is_of_kind in kinds.items():
        path = directory / name
        if os.path.lexists(path) and not is_of_kind(os.lstat(path).st_mode):
            expected = "a plain file" if name in _FILES else "a directory"
            raise ValueError(f"{path} must be {expected}, not a link or anything else.")


@contextlib.contextmanager
def _clear_errors(directory: Path) -> Iterator[None]:
    """System errors as one sentence that names the run directory; our own pass."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise type(error)(
            f"The run directory {directory} cannot be used: {error.strerror}{place}. "
            "Choose another logdir."
        ) from error
