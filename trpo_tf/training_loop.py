"""Collect, update, report, evaluate, checkpoint; until the steps are made or a signal comes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trpo_tf import atomic_files, checkpoint, environments, memory, rollout_fault, saved_model
from trpo_tf.errors import TrainingStopped
from trpo_tf.evaluation import deterministic_actor, evaluate
from trpo_tf.failure import what_and_where
from trpo_tf.interruption import Interruption
from trpo_tf.metrics import ProgressLog
from trpo_tf.model_card import (
    METADATA_FILE,
    MOST_METADATA_BYTES,
    json_value,
    returns_summary,
    training_summary,
)
from trpo_tf.model_versions import find_version
from trpo_tf.plain_file import read_plain_file
from trpo_tf.samplers import WorkersLost
from trpo_tf.training_session import Session
from trpo_tf.types import EpisodeStats, Rollout, StepStatus, UpdateInfo

_NON_FINITE = (StepStatus.NON_FINITE_ROLLOUT, StepStatus.NON_FINITE_GRADIENT)


class TrainingLoop:
    """Trains what a session holds and keeps its directory up to date.

    A checkpoint is written at the start, every `checkpoint_every` updates and at the end, also at
    one that a signal, the environments or too many refused updates bring. While updates are being
    refused for numbers that are not finite, one that is due waits: whatever spoils them must not
    push the good checkpoints out. The last one is written all the same, as a refused update leaves
    the weights as they were.

    Args:
        session: what trains.
        log: where updates are reported.

    Attributes:
        best_return: mean return of the best evaluation, None before there is one.
        evaluation: the last evaluation's episodes, None before there is one.
    """

    def __init__(self, session: Session, log: ProgressLog) -> None:
        self.session = session
        # After a kill the kept policy can be newer than the checkpoint.
        known = session.state.get("best_return"), _kept_return(session.run.best_policy_path)
        self.best_return: float | None = max(
            (mean for mean in known if mean is not None and math.isfinite(mean)), default=None
        )
        self.evaluation: EpisodeStats | None = None
        self._log = log
        self._refused_in_a_row = 0
        self._saved_at = self.updates
        self._act = deterministic_actor(session.components.policy)

    @property
    def updates(self) -> int:
        """Updates made so far, those of earlier sessions included."""
        return int(self.session.components.trpo.policy_version.numpy())

    @property
    def env_steps(self) -> int:
        """Environment steps made so far, those of earlier sessions included."""
        return self.session.components.sampler.env_steps

    def run(self, interruption: Interruption) -> bool:
        """Trains until all steps are made or a signal has come.

        Returns:
            Whether all steps are made.

        Raises:
            TrainingStopped: too many updates in a row were refused for numbers that are not finite,
                the environment's workers have died, or the environment raised something. The last
                checkpoint is intact.
            OSError: something cannot be written.
        """
        config = self.session.run.record.config
        if not self.session.state:
            self.save()
        memory.give_back()
        first_update = self.updates
        while self.env_steps < config.total_steps:
            try:
                self._iterate()
            except TrainingStopped as stopped:
                # A signal to the whole group of processes ends the workers as well.
                if not (interruption.signal_number and isinstance(stopped.__cause__, WorkersLost)):
                    raise
                return False
            if self.updates == first_update + 1:
                memory.give_back()
            is_due = self.updates - self._saved_at >= config.checkpoint_every
            is_stopped = interruption.signal_number is not None
            if is_stopped or (is_due and not self._refused_in_a_row):
                self.save()
            if is_stopped and self.env_steps < config.total_steps:
                return False
        self.save()
        return True

    def save(self, exported: str | None = None, with_environments: bool = True) -> None:
        """Writes a checkpoint, without the environments if they gave numbers that are not finite.

        Args:
            exported: the saved model that the finished run left.
            with_environments: whether they are where the last rollout left them.
        """
        components, run = self.session.components, self.session.run
        state = {
            "env_steps": self.env_steps,
            "sampler": components.sampler.state(),
            "progress": self._log.state(),
            "best_return": self.best_return,
            "exported": exported,
        }
        keeps_environments = with_environments and not self._refused_in_a_row
        self._log.sync()
        checkpoint.save_checkpoint(
            run.checkpoints_path,
            self.updates,
            components.trpo.checkpointables(),
            state,
            run.record.config.keep_checkpoints,
            components.sampler.exact_state() if keeps_environments else None,
        )
        self._saved_at = self.updates

    def publish(self, export_dir: str | os.PathLike[str]) -> Path:
        """Exports the trained policy, unless a life that was killed after that has done so already.

        Args:
            export_dir: the model's base directory.

        Returns:
            The version's directory.
        """
        if self.session.is_resumed:
            summary = json_value(self._summary())
            training = _training_of(Path(export_dir))
            if all(training.get(name) == value for name, value in summary.items()):
                return find_version(export_dir)
        return self._export(Path(export_dir))

    def _export(self, base: Path, verify: bool = True) -> Path:
        """Writes policy and value function as the next version of a served model."""
        components = self.session.components
        return saved_model.export_policy(
            components.policy,
            base,
            value_function=components.value_function,
            metadata={**self._summary(), **returns_summary(self.evaluation)},
            verify=verify,
        )

    def _summary(self) -> dict[str, Any]:
        return training_summary(self.session.run.record, self.updates, self.env_steps)

    def _iterate(self) -> None:
        sampler = self.session.components.sampler
        steps_before = self.env_steps
        began = time.perf_counter()
        rollout, episodes = self._collect()
        collected = time.perf_counter()
        info = self.session.components.trpo.update(rollout)
        updated = time.perf_counter()
        evaluation = self._evaluate(steps_before)
        self._log.record(
            update=self.updates,
            env_steps=self.env_steps,
            episodes=episodes,
            info=info,
            evaluation=evaluation,
            collect_seconds=collected - began,
            update_seconds=updated - collected,
            lost_rollouts=sampler.lost_rollouts,
            dropped_rollouts=sampler.dropped_rollouts,
        )
        self._count_refusal(info, rollout)

    def _collect(self) -> tuple[Rollout, EpisodeStats]:
        """The next rollout; saves before it raises what became of the environments."""
        try:
            with self._failures_named():
                return self.session.components.sampler.collect()
        except TrainingStopped:
            # Only the environments are in the middle of something: all updates are whole. A
            # checkpoint of them that is there may hold the environments too.
            if self.updates != self._saved_at:
                self.save(with_environments=False)
            raise

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """What an environment raises, whatever it is, as one line with its place in the source."""
        try:
            yield
        except (WorkersLost, TimeoutError) as error:
            raise TrainingStopped(f"{error} {self._way_on()}") from error
        except Exception as error:
            config = self.session.run.record.config
            what, where = what_and_where(error)
            raise TrainingStopped(
                f"{config.env} (seed {config.seed}) failed: {what} ({where}; --verbose shows the "
                f"way there). {self._way_on()}"
            ) from error

    def _evaluate(self, steps_before: int) -> EpisodeStats | None:
        """Evaluates if a multiple of eval_every was passed, and after the last update."""
        config = self.session.run.record.config
        every = config.eval_every
        is_last = self.env_steps >= config.total_steps
        if every == 0 or (steps_before // every == self.env_steps // every and not is_last):
            return None
        with self._failures_named():
            self.evaluation = evaluate(
                self._act,
                lambda: environments.make_env(config.env, config.env_kwargs),
                config.eval_episodes,
                config.seed,
            )
        mean_return = float(np.mean(self.evaluation.returns))
        is_best = self.best_return is None or mean_return > self.best_return
        # Nothing is larger than NaN, which would stay the best for ever.
        if is_best and math.isfinite(mean_return):
            self.best_return = mean_return
            self._keep_best()
        return self.evaluation

    def _keep_best(self) -> None:
        """Exports into the run directory; of all that were once the best only the last stays."""
        base = self.session.run.best_policy_path
        earlier = list(base.glob("[0-9]*"))
        # Kept beside the run, not published: the proof would hold training up every time.
        self._export(base, verify=False)
        for version in earlier:
            atomic_files.remove_directory(version)

    def _count_refusal(self, info: UpdateInfo, rollout: Rollout) -> None:
        status = StepStatus(int(info.status))
        if status not in _NON_FINITE:
            self._refused_in_a_row = 0
            return
        self._refused_in_a_row += 1
        limit = self.session.run.record.config.max_refused_updates
        if self._refused_in_a_row >= limit:
            # The updates before the refused ones may be in no checkpoint yet.
            self.save()
            fault = rollout_fault.first_fault(rollout)
            raise TrainingStopped(
                f"{limit} updates in a row were refused ({status.name}). {status.remedy} "
                f"{'' if fault is None else f'In the last one {fault}. '}{self._way_on()}"
            )

    def _way_on(self) -> str:
        run = self.session.run
        return f"The last checkpoint in {run.path} is intact; --resume continues from it."


def _kept_return(base: Path) -> float | None:
    """The mean return of the best policy so far, as its export says; None if nothing says it."""
    try:
        return float(_training_of(base)["returns"]["mean"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _training_of(base: Path) -> dict[str, Any]:
    """How the newest version of a model came about, as it says; empty if it says nothing."""
    try:
        path = find_version(base) / "assets.extra" / METADATA_FILE
        return dict(json.loads(read_plain_file(path, MOST_METADATA_BYTES))["training"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
