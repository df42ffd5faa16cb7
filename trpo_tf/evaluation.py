"""How good a policy is: whole episodes in environments of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf import draws, spaces
from trpo_tf.action_map import to_env_actions
from trpo_tf.types import EpisodeStats

_SEED_LIMIT = 2**31
_MOST_STEPS = 200_000


def evaluate(
    act: Callable[[Any], Any],
    make_env: Callable[[], gym.Env],
    episodes: int,
    seed: int = 0,
    num_envs: int = 8,
    max_steps: int = _MOST_STEPS,
) -> EpisodeStats:
    """Plays a fixed set of episodes to their ends.

    Episode e is reset with a seed of its own, made of `seed` and e, and every episode that is
    begun counts. The result is therefore not biased towards short episodes, as "the first E that
    end in a vector environment" is, and nothing of one episode depends on another.
    `act` always gets `num_envs` rows, so that not even the last bit of an action depends on how
    many episodes are still under way.

    Args:
        act: observations [B, *O] to actions [B, *A], sendable to the environment; those of a Box
            are cast to its dtype.
        make_env: makes one environment, without autoreset; called min(num_envs, episodes) times.
        episodes: E, how many are played, ≥ 1.
        seed: of the episodes' beginnings, ≥ 0.
        num_envs: B, episodes that are under way at once, ≥ 1.
        max_steps: after which an episode counts as one that never ends, ≥ 1.

    Returns:
        Undiscounted returns in raw rewards and lengths in steps, [E], in the order of e.

    Raises:
        ValueError: if `episodes`, `num_envs` or `max_steps` is below 1 or `seed` below 0, or an
            episode does not end.

    >>> stats = evaluate(
    ...     lambda observations: np.zeros(len(observations), int),
    ...     lambda: gym.make("CartPole-v1"),
    ...     episodes=3,
    ... )
    >>> bool((stats.returns == stats.lengths).all())
    True
    """
    _check_counts(episodes, seed, num_envs)
    if max_steps < 1:
        raise ValueError(f"max_steps must be >= 1, got {max_steps}. The default is {_MOST_STEPS}.")
    envs = [make_env() for _ in range(min(num_envs, episodes))]
    try:
        return _play(act, envs, episodes, seed, max_steps)
    finally:
        for env in envs:
            env.close()


def deterministic_actor(policy: Any) -> Callable[[Any], np.ndarray]:
    """The deterministic actions of a policy in memory, for `evaluate` while it is being trained.

    It always acts by the policy's present weights and statistics, and changes neither.

    Args:
        policy: a Keras model with `observation_space` and `action_space`, as `make_policy` gives.

    Returns:
        Observations [B, *O] to actions [B, *A], sendable to the environment.

    >>> from trpo_tf.policies import make_policy
    >>> policy = make_policy(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    >>> deterministic_actor(policy)(np.zeros([5, 3], np.float32)).shape
    (5,)
    """
    specs = spaces.observation_specs(policy.observation_space)
    rescale_actions = getattr(policy, "rescale_actions", False)

    @tf.function(input_signature=[specs], autograph=False)
    def actions(observations: Any) -> Any:
        raw_actions = draws.deterministic_action(policy(observations))
        return to_env_actions(policy.action_space, raw_actions, rescale_actions)

    def act(observations: Any) -> np.ndarray:
        return np.asarray(actions(tf.nest.map_structure(tf.constant, observations)))

    return act


def episode_seed(seed: int, episode: int) -> int:
    """The seed with which one episode's environment is reset.

    >>> episode_seed(0, 1) == episode_seed(0, 1), episode_seed(0, 1) == episode_seed(1, 0)
    (True, False)
    """
    words = np.random.SeedSequence(seed, spawn_key=(episode,)).generate_state(1, np.uint32)
    return int(words[0]) % _SEED_LIMIT


def _check_counts(episodes: int, seed: int, num_envs: int) -> None:
    if episodes < 1:
        raise ValueError(f"episodes must be >= 1, got {episodes}. Typical values are 10 to 100.")
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}. Typical values are 1 to 16.")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")


def _play(
    act: Callable[[Any], Any],
    envs: Sequence[gym.Env],
    episodes: int,
    seed: int,
    max_steps: int,
) -> EpisodeStats:
    space = envs[0].observation_space
    returns, lengths = np.zeros(episodes, np.float64), np.zeros(episodes, np.int64)
    # What each environment plays; None once no episode is left for it.
    playing: list[int | None] = list(range(len(envs)))
    current = [env.reset(seed=episode_seed(seed, e))[0] for e, env in enumerate(envs)]
    next_episode = len(envs)
    while any(episode is not None for episode in playing):
        actions = _sendable(envs[0].action_space, act(_stack(space, current)))
        for index, env in enumerate(envs):
            episode = playing[index]
            if episode is None:
                continue
            observation, reward, terminated, truncated, _ = env.step(actions[index])
            current[index] = observation
            returns[episode] += float(reward)
            lengths[episode] += 1
            if lengths[episode] >= max_steps and not (terminated or truncated):
                raise ValueError(
                    f"episode {episode} of an evaluation has not ended after {max_steps:,} steps. "
                    "Give the environment a time limit (gymnasium.register(max_episode_steps=…)), "
                    "or switch evaluations off (eval_every=0)."
                )
            if terminated or truncated:
                playing[index] = None
                if next_episode < episodes:
                    playing[index] = next_episode
                    current[index], _ = env.reset(seed=episode_seed(seed, next_episode))
                    next_episode += 1
    return EpisodeStats(returns, lengths)


def _sendable(space: gym.Space, actions: Any) -> np.ndarray:
    # A policy that was trained with EnvPool may act in wider floats than Gymnasium's environments.
    return np.asarray(actions, space.dtype if isinstance(space, gym.spaces.Box) else None)


def _stack(space: gym.Space, observations: Sequence[Any]) -> Any:
    batch: Any = gym.vector.utils.create_empty_array(space, len(observations))
    return gym.vector.utils.concatenate(space, observations, batch)
