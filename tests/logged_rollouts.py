"""Rollouts as a log would hold them, of any spaces, with a row that does not count."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from random_spaces import sample_batch

from trpo_tf.types import Rollout

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
MultiDiscrete, MultiBinary = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
Dict, Tuple = gym.spaces.Dict, gym.spaces.Tuple

# Observation and action spaces that a log may be of.
SPACES: dict[str, tuple[gym.Space, gym.Space]] = {
    "box": (Box(-1, 1, (3,)), Box(-1, 1, (2,))),
    "float64": (Box(-1, 1, (2, 2), np.float64), Box(-1, 1, (), np.float64)),
    "discrete": (Discrete(4, start=-2), Discrete(3, start=5)),
    "multi_discrete": (MultiDiscrete([3, 2], start=[7, -1]), MultiDiscrete([[2, 3], [4, 5]])),
    "multi_binary": (MultiBinary([2, 2]), MultiBinary(3)),
    "dict": (Dict(eye=Box(0, 1, (2,)), limb=Tuple([Discrete(2), Box(-1, 1, ())])), Discrete(2)),
    "tuple": (Tuple([Box(-1, 1, (1,)), MultiBinary(2)]), MultiDiscrete([2, 2])),
    "odd_keys": (Dict({"a/b": Discrete(2), "ö'\"": Box(0, 1, (1,))}), Discrete(2)),
    "image": (Box(0, 255, (6, 5, 3), np.uint8), Discrete(4)),
}
PLAIN = SPACES["box"][0], SPACES["dict"][1]


def logged_rollout(
    observation_space: gym.Space,
    action_space: gym.Space,
    steps: int = 3,
    envs: int = 2,
    seed: int = 0,
) -> Rollout:
    """Arrays of samples; row [1, 0] does not count."""
    rng = np.random.default_rng(seed)
    observations = tf.nest.map_structure(
        lambda rows: rows.reshape(steps + 1, envs, *rows.shape[1:]),
        sample_batch(observation_space, (steps + 1) * envs, seed)[1],
    )
    shape = (steps, envs)
    mask = np.ones(shape, bool)
    mask[1:2, 0] = False
    return Rollout(
        observations=observations,
        actions=_actions(rng, action_space, shape),
        behaviour_log_probs=-rng.exponential(size=shape).astype(np.float32),
        rewards=rng.normal(size=shape).astype(np.float32),
        terminated=rng.random(shape) < 0.3,
        truncated=rng.random(shape) < 0.3,
        mask=mask,
        policy_version=rng.integers(0, 5, shape),
    )


def assert_equal(found: Any, expected: Any) -> None:
    """The same structure, dtypes and numbers."""
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)


def _actions(rng: np.random.Generator, space: gym.Space, shape: tuple[int, int]) -> np.ndarray:
    """As drawn: not clipped, and whole numbers from 0."""
    shape += space.shape or ()
    if isinstance(space, Box):
        return (3 * rng.normal(size=shape)).astype(space.dtype)
    counts = {Discrete: "n", MultiDiscrete: "nvec"}
    most = 2 if isinstance(space, MultiBinary) else getattr(space, counts[type(space)])
    return rng.integers(0, most, shape).astype(np.int32)
