"""What a training run reports of each update: progress.csv, TensorBoard and the terminal."""

from __future__ import annotations

import collections
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from trpo_tf.counts import checked_count
from trpo_tf.event_file import EventFile
from trpo_tf.progress_display import Display, Silence
from trpo_tf.progress_file import ProgressFile
from trpo_tf.types import EpisodeStats, StepStatus, UpdateInfo

_SPEED = ("steps_per_second", "collect_seconds", "update_seconds")
_RETURNS = ("episode_return_mean", "episode_length_mean", "eval_return_mean", "eval_return_std")
_COUNTERS = ("update", "env_steps", "wall_time", "episodes")

_SAMPLER = ("lost_rollouts", "dropped_rollouts")

COLUMNS = (*_COUNTERS, *_RETURNS, *_SPEED, *UpdateInfo._fields, *_SAMPLER)
"""The columns of progress.csv."""

WALL_CLOCK_COLUMNS = ("wall_time", *_SPEED)
"""The columns in which two runs with the same seed differ."""

_WINDOW = 100
_GROUPS = dict.fromkeys(_SPEED, "speed") | dict.fromkeys(_RETURNS, "returns")


class Progress(NamedTuple):
    """Where a log goes on.

    Attributes:
        update: number of the last update.
        env_steps: environment steps made.
        wall_time: seconds, ≥ 0.
        recent_returns: of the episodes that ended last.
        recent_lengths: the same ones' steps.
    """

    update: int
    env_steps: int
    wall_time: float
    recent_returns: list[float]
    recent_lengths: list[int]


class ProgressLog:
    """Reports each update in up to three places, and continues where a checkpoint left off.

    Returns and lengths of episodes are means of the last 100 that ended, so that they do not jump
    with the few that end in one rollout; `episodes` counts those of the update alone.

    Args:
        csv_path: `progress.csv`.
        display: the terminal's; None shows nothing.
        tensorboard_dir: for TensorBoard's events; None writes none.
        resume_state: what `state` gave when the checkpoint was saved: rows of later updates are
            cut, and the wall time goes on. An empty one: the run died before its first checkpoint
            and begins again. None: a new run; the file must not exist.
        clock: seconds; only differences count.

    Raises:
        FileExistsError: a new run whose file exists.
        ValueError: the file or the state that is to be continued is damaged.
        OSError: something cannot be written; names the path.

    >>> import tempfile
    >>> from trpo_tf.progress_file import read_progress
    >>> path = os.path.join(tempfile.mkdtemp(), "progress.csv")
    >>> info = UpdateInfo(0.0, 0.1, 0.01, True, StepStatus.ACCEPTED, 0, 1e-3)
    >>> ended = EpisodeStats(np.array([3.0, 5.0]), np.array([10, 20]))
    >>> with ProgressLog(path) as log:
    ...     row = log.record(update=1, env_steps=2048, episodes=ended, info=info)
    >>> row["episode_return_mean"], read_progress(path)["kl"].tolist()
    (4.0, [0.01])
    """

    def __init__(
        self,
        csv_path: str | os.PathLike[str],
        display: Display | None = None,
        tensorboard_dir: str | os.PathLike[str] | None = None,
        resume_state: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        update, env_steps, wall_time, returns, lengths = (
            resumed_progress(resume_state) if resume_state else Progress(0, 0, 0.0, [], [])
        )
        self._clock = clock
        self._began = clock() - wall_time
        self._update, self._env_steps, self._wall_time = update, env_steps, wall_time
        self._returns = collections.deque(returns, maxlen=_WINDOW)
        self._lengths = collections.deque(lengths, maxlen=_WINDOW)
        self._display = display or Silence()
        self._file = ProgressFile(csv_path, COLUMNS, None if resume_state is None else update)
        self._events = None
        if tensorboard_dir is not None:
            resume_step = None if resume_state is None else env_steps
            self._events = EventFile(tensorboard_dir, resume_step)

    def record(
        self,
        *,
        update: int,
        env_steps: int,
        episodes: EpisodeStats,
        info: UpdateInfo,
        evaluation: EpisodeStats | None = None,
        collect_seconds: float | None = None,
        update_seconds: float | None = None,
        lost_rollouts: int = 0,
        dropped_rollouts: int = 0,
    ) -> dict[str, Any]:
        """Reports one update.

        Args:
            update: its number, greater than the last one's.
            env_steps: environment steps made so far.
            episodes: that ended in the update's rollout.
            info: what `TRPO.update` gave.
            evaluation: episodes of an evaluation after the update, if there was one.
            collect_seconds: time that the rollout took.
            update_seconds: time that the update took.
            lost_rollouts: that died unfinished with what collected them, in the whole run.
            dropped_rollouts: that were too old, in the whole run.

        Returns:
            The row by column; None stands for an empty cell.

        Raises:
            OSError: something cannot be written; names the path.
        """
        now = self._clock() - self._began
        self._returns.extend(np.asarray(episodes.returns, np.float64).tolist())
        self._lengths.extend(np.asarray(episodes.lengths, np.int64).tolist())
        row = {
            "update": update,
            "env_steps": env_steps,
            "wall_time": round(now, 3),
            "steps_per_second": _ratio(env_steps - self._env_steps, now - self._wall_time),
            "collect_seconds": collect_seconds,
            "update_seconds": update_seconds,
            "episodes": len(episodes.returns),
            "episode_return_mean": _mean(self._returns),
            "episode_length_mean": _mean(self._lengths),
            "eval_return_mean": None if evaluation is None else _mean(evaluation.returns),
            "eval_return_std": None if evaluation is None else float(np.std(evaluation.returns)),
            **_plain_info(info),
            "lost_rollouts": lost_rollouts,
            "dropped_rollouts": dropped_rollouts,
        }
        self._update, self._env_steps, self._wall_time = update, env_steps, now
        self._file.append(row)
        if self._events is not None:
            self._events.write(env_steps, _scalars(row))
        self._display.show(row)
        return row

    def note(self, text: str) -> None:
        """Shows a line on the terminal, above the bar where there is one."""
        self._display.note(text)

    def state(self) -> dict[str, Any]:
        """What `resume_state` needs, in JSON's own types; belongs into each checkpoint."""
        return {
            "update": int(self._update),
            "env_steps": int(self._env_steps),
            "wall_time": self._clock() - self._began,
            "recent_returns": list(self._returns),
            "recent_lengths": list(self._lengths),
        }

    def sync(self) -> None:
        """Brings the rows to the disk: before each checkpoint, so that none outlives its rows."""
        self._file.sync()

    def close(self) -> None:
        """Ends all reports; calling it again does nothing more."""
        self._display.close()
        self._file.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def resumed_progress(state: Mapping[str, Any]) -> Progress:
    """What `ProgressLog.state` gave, out of a checkpoint.

    Raises:
        ValueError: an entry is missing, of another kind or out of range.
    """
    try:
        progress = Progress(
            checked_count(state["update"]),
            checked_count(state["env_steps"]),
            float(state["wall_time"]),
            [float(value) for value in state["recent_returns"]],
            [checked_count(value) for value in state["recent_lengths"]],
        )
        if not 0 <= progress.wall_time < math.inf:
            raise ValueError(f"a wall time of {progress.wall_time} s")
        return progress
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"The progress in the checkpoint's state is damaged ({str(error)[:200]}). "
            "Resume from another checkpoint."
        ) from error


def _plain_info(info: UpdateInfo) -> dict[str, Any]:
    values = {name: np.asarray(value).item() for name, value in info._asdict().items()}
    return values | {
        "accepted": bool(values["accepted"]),
        "status": StepStatus(values["status"]).name,
    }


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard shows, in groups; env_steps is its axis and wall_time its own."""
    return {
        f"{_GROUPS.get(name, 'update')}/{name}": float(value)
        for name, value in row.items()
        if name not in _COUNTERS and name != "status" and value is not None
    }


def _mean(values: Sequence[float] | collections.deque[Any] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _ratio(steps: float, seconds: float) -> float:
    return round(steps / seconds, 1) if seconds > 0 else math.nan
