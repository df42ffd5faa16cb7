"""The asynchronous sampler: collects the next rollout while the learner works on the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from trpo_tf import policies
from trpo_tf.samplers import acting, vector_env
from trpo_tf.samplers.background import Background
from trpo_tf.samplers.collectors import Collector, ThreadCollector
from trpo_tf.samplers.synchronous import Sampler
from trpo_tf.types import EpisodeStats, Rollout


class AsyncSampler:
    """Collects beside the learner, with the policy as it was when the rollout began.

    Each `collect()` hands over the policy as it is now, its normaliser's statistics included, and
    takes the next rollout. While the learner works on that, up to `rollouts_ahead` more are
    collected with the newest policy handed over; so rows are at most `rollouts_ahead` updates old,
    and with one ahead exactly one. With 0 it is the synchronous sampler, bit for bit.

    Args:
        sampler: what collects: a `Sampler`, used in a thread of this process, for environments that
            release the interpreter's lock (MuJoCo, EnvPool, ale-py, AsyncVectorEnv); or a
            `ProcessSampler`. It belongs to this object from now on.
        rollouts_ahead: ≥ 0.
        timeout: seconds without a step of the environments after which they count as hung, > 0.
            A thread cannot be ended: that is an error. A process is replaced, twice at most.

    Attributes:
        env_steps: real environment steps of all rollouts that were taken.
        lost_rollouts: rollouts that died unfinished with their process.
        dropped_rollouts: 0; the bound on the age of rows leaves nothing to drop.

    Raises:
        ValueError: for an argument out of range.

    >>> import gymnasium as gym
    >>> env = gym.make_vec("CartPole-v1", num_envs=2)
    >>> policy = policies.make_policy(env.single_observation_space, env.single_action_space)
    >>> sampler = AsyncSampler(Sampler(env, policy, num_steps=50))
    >>> rollout, episodes = sampler.collect()
    >>> rollout.actions.shape
    (50, 2)
    >>> sampler.close()
    """

    dropped_rollouts = 0

    def __init__(
        self, sampler: Sampler | Any, rollouts_ahead: int = 1, timeout: float = 300.0
    ) -> None:
        check_background_arguments(rollouts_ahead, timeout)
        self.env_steps = sampler.env_steps
        self.policy: keras.Model = sampler.policy
        self._sampler = sampler
        self._collector: Collector = (
            ThreadCollector(sampler) if isinstance(sampler, Sampler) else sampler
        )
        self._rollouts_ahead = rollouts_ahead
        self._timeout = timeout
        self._state = dict(sampler.state())
        self._background: Background | None = None

    @property
    def lost_rollouts(self) -> int:
        """Rollouts that died unfinished with their process."""
        return 0 if self._background is None else self._background.lost

    def collect(self) -> tuple[Rollout, EpisodeStats]:
        """Hands over the policy as it is and waits for the next rollout.

        Returns:
            The rollout, in arrays that are never written again, and the episodes that ended in it.

        Raises:
            TimeoutError: the environments hang, and replacing them did not help.
            RuntimeError: the process that collects died again and again.
            Exception: what the environments raised, with their own traceback.
        """
        if self._background is None:
            self._background = Background([self._collector], 1, self._rollouts_ahead, self._timeout)
        (part,), _ = self._background.take_round(acting.take_snapshot(self.policy), 0)
        self._state = dict(part.state)
        self.env_steps += part.env_steps
        return part.rollout, part.episodes

    def state(self) -> dict[str, int]:
        """The counters after the last rollout taken; what was collected ahead is not in them."""
        return {**self._state, "env_steps": self.env_steps}

    def restore(self, state: Mapping[str, int]) -> None:
        """Takes up the counters of `state()`, or of another sampler's; before the first `collect`.

        Raises:
            ValueError: if `state` does not come from a sampler.
            RuntimeError: if a rollout has been collected.
        """
        if self._background is not None:
            raise RuntimeError("restore comes before the first collect; make a new sampler.")
        self._collector.restore(state)
        self._state = dict(state)
        self.env_steps = int(state["env_steps"])

    def close(self) -> None:
        """Ends the thread and closes the environments."""
        if self._background is not None:
            self._background.close()
        self._sampler.close()


def check_background_arguments(rollouts_ahead: int, timeout: float) -> None:
    """Raises ValueError for what a sampler in the background cannot be made with."""
    if rollouts_ahead < 0:
        raise ValueError(f"rollouts_ahead must be >= 0, got {rollouts_ahead}. 1 is typical.")
    if not timeout > 0:
        raise ValueError(f"timeout must be > 0 seconds, got {timeout}. 300 is typical.")
