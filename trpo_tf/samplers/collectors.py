"""What collects beside the learner: the protocol, and one that collects in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from trpo_tf.samplers import vector_env
from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.synchronous import Sampler
from trpo_tf.types import EpisodeStats, Rollout

MakeEnv = Callable[[int, int], gym.vector.VectorEnv]
"""From a number of environments and a seed (for EnvPool, which takes it here) to the vector env."""


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

    `prepare` and `collect` are called from one thread, `close` when that thread has ended, all else
    from any.

    Attributes:
        name: for errors: what it is, its environment and seed.
        steps_made: grows with every step of the environments.
    """

    name: str

    @property
    def steps_made(self) -> int:
        """Grows with every step of the environments."""

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

    def stop(self) -> None:
        """Makes `collect` end soon, with an error that nobody awaits."""

    def close(self) -> None:
        """Frees everything."""


class Closed(Exception):
    """Ends the rollout of a collector that was stopped meanwhile."""


class ThreadCollector:
    """Collects in the thread that calls it.

    Args:
        sampler: with the environments; nobody else may use it.
        make_env: makes the environments anew when their processes have died or hang; None: that
            ends the training.
    """

    def __init__(self, sampler: Sampler, make_env: MakeEnv | None = None) -> None:
        self.name = f"the sampler of {describe(sampler)}"
        self._steps_made = 0
        self._sampler = sampler
        self._make_env = make_env
        self._lives = 0
        self._is_lost = False
        self._is_stopped = False
        sampler.on_step = self._count_step

    @property
    def steps_made(self) -> int:
        """Steps of the vector environment so far."""
        return self._steps_made

    def prepare(self) -> None:
        """Makes the environments anew if they have died."""
        if self._is_lost:
            assert self._make_env is not None
            self._lives += 1
            sampler = self._sampler
            next_step = sampler.state()["next_step"]
            seed = life_seed(sampler.seed, sampler.first_env, self._lives, next_step)
            sampler.replace_env(self._make_env(sampler.env.num_envs, seed))
            self._is_lost = False

    def collect(self, snapshot: Snapshot) -> Part:
        """Collects one rollout with this policy."""
        try:
            return collect_part(self._sampler, snapshot)
        except vector_env.WorkersLost as error:
            if self._make_env is None or self._is_stopped:
                raise
            self._is_lost = True
            vector_env.close(self._sampler.env)
            raise CollectorLost(str(error)) from error

    def restore(self, state: Mapping[str, int]) -> None:
        """Goes on after the rollout whose `state` this is."""
        self._sampler.restore(state)

    def kill(self) -> bool:
        """Kills the environments' processes, if it has such and can make them anew or was stopped.

        A thread goes on until its environment answers.
        """
        is_allowed = self._make_env is not None or self._is_stopped
        return is_allowed and vector_env.kill_workers(self._sampler.env)

    def stop(self) -> None:
        """Ends the rollout with its next step."""
        self._is_stopped = True

    def close(self) -> None:
        """Closes the environments."""
        if not self._is_lost:
            self._sampler.close()

    def _count_step(self) -> None:
        self._steps_made += 1
        if self._is_stopped:
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


def life_seed(seed: int, first_env: int, life: int, next_step: int) -> int:
    """For EnvPool: a life that follows another must not play the same episodes again.

    Args:
        seed: of the run.
        first_env: the number of its first environment.
        life: how many had this place before in this session.
        next_step: of the sampler when it begins; not 0 after a resumption.

    >>> life_seed(7, 4, 0, 0), len({life_seed(7, 4, life, 8 * life) for life in range(9)})
    (11, 9)
    """
    if life == next_step == 0:
        return seed + first_env
    words = np.random.SeedSequence([seed, first_env, life, next_step]).generate_state(1)
    return int(words[0]) >> 2
