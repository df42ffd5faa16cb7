"""What collects beside the learner: the protocol, and one that collects in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from trpo_tf.samplers import vector_env
from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.synchronous import Sampler
from trpo_tf.types import EpisodeStats, Rollout


class Part(NamedTuple):
    """One collector's rollout.

    Attributes:
        rollout: of all its environments.
        episodes: that ended in it.
        state: counters of the collector after it, fit for JSON.
        env_steps: real environment steps of the rollout.
    """

    rollout: Rollout
    episodes: EpisodeStats
    state: Mapping[str, int]
    env_steps: int


class CollectorLost(Exception):
    """A collector has died, or was killed; its unfinished rollout is gone and was never seen."""


class Collector(Protocol):
    """Collects rollouts for a learner in another thread.

    `prepare` and `collect` are called from one thread, all else from any.

    Attributes:
        name: for errors: what it is, its environment and seed.
        steps_made: grows with every step of the environments.
    """

    name: str
    steps_made: int

    def prepare(self) -> None:
        """Begins a life if none is under way: a process, say, with environments of its own.

        Raises:
            CollectorLost: it died while it began.
            Exception: whatever making the environment raises.
        """

    def collect(self, snapshot: Snapshot) -> Part:
        """Collects one rollout with this policy.

        Raises:
            CollectorLost: it has died meanwhile; `prepare` begins another life.
            Exception: whatever the environment raises.
        """

    def restore(self, state: Mapping[str, int]) -> None:
        """Goes on after the rollout whose `state` this is; before the first `prepare`."""

    def kill(self) -> bool:
        """Ends what runs, so that `collect` raises `CollectorLost`; False if it cannot be ended."""

    def close(self) -> None:
        """Frees everything; what runs ends soon with an error, which nobody awaits."""


class Closed(Exception):
    """Ends the rollout of a collector that was closed meanwhile."""


class ThreadCollector:
    """Collects in the thread that calls it.

    Args:
        sampler: with the environments; nobody else may use it.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.name = f"the sampler of {describe(sampler)}"
        self.steps_made = 0
        self._sampler = sampler
        self._is_closed = False
        sampler.on_step = self._count_step

    def prepare(self) -> None:
        """Does nothing: the environments are there."""

    def collect(self, snapshot: Snapshot) -> Part:
        """Collects one rollout with this policy."""
        return collect_part(self._sampler, snapshot)

    def restore(self, state: Mapping[str, int]) -> None:
        """Goes on after the rollout whose `state` this is."""
        self._sampler.restore(state)

    def kill(self) -> bool:
        """Cannot: a thread goes on until its environment answers."""
        return False

    def close(self) -> None:
        """Ends the rollout with its next step; the environments are the caller's to close."""
        self._is_closed = True

    def _count_step(self) -> None:
        self.steps_made += 1
        if self._is_closed:
            raise Closed


def collect_part(sampler: Sampler, snapshot: Snapshot) -> Part:
    """One rollout of a sampler, with what belongs to it."""
    steps_before = sampler.env_steps
    rollout, episodes = sampler.collect(snapshot)
    return Part(rollout, episodes, sampler.state(), sampler.env_steps - steps_before)


def describe(sampler: Sampler) -> str:
    """A sampler's environments in a few words, for errors."""
    env = sampler.env
    return (
        f"{vector_env.name(env)} ({env.num_envs} environments from number {sampler.first_env}, "
        f"seed {sampler.seed})"
    )
