"""The asynchronous sampler: a thread collects beside the learner."""

from __future__ import annotations

from trpo_tf.samplers.background_sampler import BackgroundSampler
from trpo_tf.samplers.collectors import MakeEnv, ThreadCollector
from trpo_tf.samplers.synchronous import Sampler


class AsyncSampler(BackgroundSampler):
    """Collects with a snapshot of the policy in a thread while the learner updates.

    Each `collect` hands the policy as it is to the rollouts that begin from then on, normaliser
    statistics included, and returns the oldest rollout that is finished. With `rollouts_ahead` 0
    the learner waits while its own policy collects, and all bits are those of the synchronous
    sampler; with n, n rollouts more are collected meanwhile, and rows are at most n updates old.

    A thread serves environments that release the interpreter's lock while they step (MuJoCo,
    EnvPool, ale-py) or step in processes (`gymnasium.vector.AsyncVectorEnv`). Others step while the
    learner is inside its compiled update, which is most of its time.

    Args:
        sampler: what collects. It belongs to this object from now on.
        rollouts_ahead: ≥ 0.
        timeout: seconds without a step of the environments after which they count as hung, > 0.
        make_env: makes the environments anew, from their number and a seed, when the worker
            processes of an AsyncVectorEnv have died or hang; three times in a row at most. None:
            that is an error, as it always is for environments without processes.

    Raises:
        ValueError: for an argument out of range.

    >>> import gymnasium as gym
    >>> from trpo_tf.policies import make_policy
    >>> env = gym.make_vec("CartPole-v1", num_envs=2)
    >>> policy = make_policy(env.single_observation_space, env.single_action_space)
    >>> sampler = AsyncSampler(Sampler(env, policy, num_steps=50))
    >>> rollout, episodes = sampler.collect()
    >>> rollout.actions.shape
    (50, 2)
    >>> sampler.close()
    """

    def __init__(
        self,
        sampler: Sampler,
        rollouts_ahead: int = 1,
        timeout: float = 300.0,
        make_env: MakeEnv | None = None,
    ) -> None:
        super().__init__(
            sampler.policy,
            [ThreadCollector(sampler, make_env)],
            sampler.state(),
            rollouts_ahead,
            timeout,
        )
