"""What the samplers share that collect beside the learner."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trpo_tf.samplers import acting
from trpo_tf.samplers.background import Background
from trpo_tf.samplers.collectors import Collector, Part
from trpo_tf.samplers.counters import read_counters
from trpo_tf.types import EpisodeStats, Rollout


class BackgroundSampler:
    """Hands the policy to collectors and puts a rollout together from their parts.

    Base of the samplers that differ in nothing but their collectors.

    Args:
        policy: the learner's.
        collectors: each collects some of the environments, and its rollout is one part of every
            rollout; they belong to this object from now on.
        state: counters to begin with, of the keys of `Sampler.state()`.
        rollouts_ahead: ≥ 0; see `Background`.
        timeout: seconds without a step after which a collector counts as hung, > 0.
        max_lag: parts whose policy is more updates old are dropped and collected anew; None: none.
        recruit: asked before each rollout, with the number of collectors there are, for more of
            them; they only add speed.
        release: called when everything is closed.

    Attributes:
        env_steps: real environment steps of all rollouts that were taken or dropped.
        dropped_rollouts: parts that were too old.

    Raises:
        ValueError: for an argument out of range.
    """

    def __init__(
        self,
        policy: keras.Model,
        collectors: Sequence[Collector],
        state: Mapping[str, int],
        rollouts_ahead: int,
        timeout: float,
        max_lag: int | None = None,
        recruit: Callable[[int], Sequence[Collector]] = lambda count: (),
        release: Callable[[], None] = lambda: None,
    ) -> None:
        if rollouts_ahead < 0:
            raise ValueError(f"rollouts_ahead must be >= 0, got {rollouts_ahead}. 1 is typical.")
        if not timeout > 0:
            raise ValueError(f"timeout must be > 0 seconds, got {timeout}. 300 is typical.")
        if max_lag is not None and max_lag < 0:
            raise ValueError(f"max_lag must be >= 0 or None, got {max_lag}.")
        self.policy = policy
        self.env_steps = int(state["env_steps"])
        self.dropped_rollouts = 0
        self._lost_before = 0
        self._next_step = int(state["next_step"])
        self._collectors = tuple(collectors)
        self._rollouts_ahead = rollouts_ahead
        self._max_lag = max_lag
        self._timeout = timeout
        self._recruit = recruit
        self._release = release
        self._is_closed = False
        self._background: Background | None = None

    @property
    def lost_rollouts(self) -> int:
        """Parts that died unfinished with whatever collected them."""
        return self._lost_before + (0 if self._background is None else self._background.lost)

    def collect(self) -> tuple[Rollout, EpisodeStats]:
        """Hands over the policy as it is and waits for the next rollout.

        Returns:
            The rollout, in arrays that are never written again, and the episodes that ended in it.

        Raises:
            TimeoutError: environments hang, and replacing what steps them did not help.
            WorkersLost: what collects died again and again.
            RuntimeError: it is closed.
            Exception: what the environments raised, with their own traceback.
        """
        if self._is_closed:
            raise RuntimeError("This sampler is closed; make a new one.")
        if self._background is None:
            self._background = Background(
                self._collectors, len(self._collectors), self._rollouts_ahead, self._timeout
            )
            # A thread that is inside TensorFlow when the interpreter ends would crash it.
            atexit.register(self.close)
        for collector in self._recruit(self._background.num_collectors):
            # From here on, as everybody: after a resume it must not begin the run again.
            collector.restore(self.state())
            self._background.add(collector)
        snapshot = acting.take_snapshot(self.policy)
        oldest = 0 if self._max_lag is None else snapshot.version - self._max_lag
        parts, dropped = self._background.take_round(snapshot, oldest)
        self.dropped_rollouts += len(dropped)
        for part in (*parts, *dropped):
            self.env_steps += part.env_steps
            self._next_step = max(self._next_step, part.state["next_step"])
        return merge(parts)

    def state(self) -> dict[str, int]:
        """The counters after the last rollout taken; what was collected ahead is not in them."""
        return {
            "next_step": self._next_step,
            "env_steps": self.env_steps,
            "lost_rollouts": self.lost_rollouts,
            "dropped_rollouts": self.dropped_rollouts,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Takes up the counters of `state()`, or of another sampler's; before the first `collect`.

        Raises:
            ValueError: if `state` does not come from a sampler.
            RuntimeError: if a rollout has been collected.
        """
        if self._background is not None:
            raise RuntimeError("restore comes before the first collect; make a new sampler.")
        counters = read_counters(state)
        for collector in self._collectors:
            collector.restore(state)
        self._next_step, self.env_steps = counters.next_step, counters.env_steps
        self._lost_before = counters.lost_rollouts
        self.dropped_rollouts = counters.dropped_rollouts

    def exact_state(self) -> dict[str, np.ndarray] | None:
        """None: what is collected ahead leaves the environments elsewhere than the learner is."""
        return None

    def go_on(self, state: Mapping[str, np.ndarray]) -> bool:
        """False: the environments start with a reset, whatever another sampler has left."""
        return False

    def close(self) -> None:
        """Ends everything that collects and frees the environments."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        if self._background is not None:
            self._background.close()
        else:
            for collector in self._collectors:
                collector.close()
        self._release()


def merge(parts: Sequence[Part]) -> tuple[Rollout, EpisodeStats]:
    """Puts the environments of several parts side by side.

    >>> row, flag = np.zeros([1, 2]), np.zeros([1, 2], bool)
    >>> ended = np.array([[True, False]])
    >>> rollout = Rollout(np.zeros([2, 2, 3]), row, row, row, ended, flag, ~flag, row)
    >>> part = Part(rollout, EpisodeStats(np.ones(1), np.ones(1)), {}, 2)
    >>> rollout, episodes = merge([part, part])
    >>> rollout.observations.shape, rollout.rewards.shape, episodes.returns.tolist()
    ((2, 4, 3), (1, 4), [1.0, 1.0])
    """
    if len(parts) == 1:
        return parts[0].rollout, parts[0].episodes
    rollout = tf.nest.map_structure(
        lambda *arrays: np.concatenate(arrays, axis=1), *(part.rollout for part in parts)
    )
    order = np.argsort(np.concatenate(_steps_of_ends(parts)), kind="stable")
    episodes = EpisodeStats(
        *(
            np.concatenate(arrays)[order]
            for arrays in zip(*(part.episodes for part in parts), strict=True)
        )
    )
    return rollout, episodes


def _steps_of_ends(parts: Sequence[Part]) -> list[np.ndarray]:
    """At which step each episode of each part ended; a stand-in for a lost part has none."""
    steps = []
    for part in parts:
        rollout = part.rollout
        ends = rollout.mask & (rollout.terminated | rollout.truncated)
        steps.append(np.nonzero(ends)[0] if len(part.episodes.returns) else np.zeros(0, np.int64))
    return steps
