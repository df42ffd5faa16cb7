"""Rollouts from anywhere, checked before the parts learn from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf.rollout_form import NOT_CURRENT, RolloutForm
from trpo_tf.types import Rollout


def checked_rollouts(
    dataset: tf.data.Dataset,
    observation_space: gym.Space,
    action_space: gym.Space,
    keep_versions: bool = False,
) -> tf.data.Dataset:
    """Checks a dataset of rollouts from anywhere, and gives `Rollout`s that the parts can use.

    Structure, names, dtypes, ranks and known sizes are checked once, here; sizes that are not known
    yet and the numbers of each rollout when it is read. All observations and what rows that count
    hold must be finite, whole numbers must lie in their space's range (actions, as drawn, count
    from 0), and log-probabilities of such actions must not be positive, as probabilities would be.
    Where other rows hold anything else, they get sound numbers.

    `TRPO` takes rows of the policy's present version as drawn by the policy itself, and a fresh
    policy has version 0. So all rows get version −1 here: their log π_old is then computed and they
    are corrected for, at a lag of the policy's updates plus one (a `max_lag` drops all of them once
    that is larger).

    Args:
        dataset: of `Rollout`s, or of dictionaries with their names, in which `mask` (every row then
            counts) and `policy_version` may be missing.
        observation_space: of one environment.
        action_space: of one environment; the actions are those drawn, before
            `action_map.to_env_actions`.
        keep_versions: whether rows keep their policy version: only for what this very policy drew,
            such as its own rollouts from before a restart.

    Returns:
        A dataset of as many `Rollout`s, of the sizes that the given one knows. Reading a bad one
        raises `tf.errors.InvalidArgumentError` with its number, from 0, and what is wrong.

    Raises:
        TypeError: an element is neither a `Rollout` nor a dictionary, or a space none of Gymnasium.
        ValueError: the elements have another structure; names the field, what was expected and
            what was found.

    >>> episode = {
    ...     "observations": np.zeros([4, 1, 3], np.float32),
    ...     "actions": np.zeros([3, 1], np.int64),
    ...     "behaviour_log_probs": np.full([3, 1], np.log(0.5)),
    ...     "rewards": np.ones([3, 1]),
    ...     "terminated": np.zeros([3, 1], bool),
    ...     "truncated": np.zeros([3, 1], bool),
    ... }
    >>> dataset = tf.data.Dataset.from_tensors(episode)
    >>> rollouts = checked_rollouts(dataset, gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    >>> [rollout.policy_version.numpy().ravel().tolist() for rollout in rollouts]
    [[-1, -1, -1]]
    """
    form = RolloutForm(observation_space, action_space)
    steps, envs = form.check_structure(form.leaves(dataset.element_spec))

    # (AutoGraph cannot take generators, and has nothing to convert here.)
    @tf.autograph.experimental.do_not_convert
    def check(index: Any, element: Any) -> Rollout:
        leaves = form.leaves(element)
        leaves = form.filled(_insist(form.size_faults(leaves), leaves, index))
        for name, leaf in leaves.items():
            field = form.fields[name]
            leaf.set_shape([None if steps is None else steps + field.extra, envs, *field.shape])
        leaves = form.mended(_insist(form.number_faults(leaves), leaves, index))
        versions = tf.cast(leaves["policy_version"], tf.int64)
        if not keep_versions:
            versions = tf.ones_like(versions) * NOT_CURRENT
        return form.rollout({**leaves, "policy_version": versions})

    return dataset.enumerate().map(check)


def check_rollout(rollout: Any, observation_space: gym.Space, action_space: gym.Space) -> Rollout:
    """Checks one rollout in memory, as `checked_rollouts` does a dataset of them.

    Args:
        rollout: a `Rollout` or a dictionary with its names, of arrays or tensors.
        observation_space: of one environment.
        action_space: of one environment.

    Returns:
        The same numbers as NumPy arrays, observations in their space's structure, policy versions
        as they are; what may be missing is filled in.

    Raises:
        TypeError, ValueError: saying what is wrong.

    >>> check_rollout({"rewards": [[0.0]]}, gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    Traceback (most recent call last):
    ValueError: a rollout must have behaviour_log_probs, ...
    """
    form = RolloutForm(observation_space, action_space)
    leaves = {name: _array(name, leaf) for name, leaf in form.leaves(rollout).items()}
    form.check_structure(leaves)
    leaves = form.filled(leaves)
    for text, is_sound in form.number_faults(leaves):
        if not is_sound:
            raise ValueError(f"{text}.")
    leaves = {name: np.asarray(leaf) for name, leaf in form.mended(leaves).items()}
    return form.rollout({**leaves, "policy_version": leaves["policy_version"].astype(np.int64)})


def _insist(
    faults: Iterable[tuple[str, Any]], leaves: Mapping[str, Any], index: Any
) -> dict[str, Any]:
    """The leaves, which cannot be read unless all is sound."""
    beginning = tf.strings.join(["rollout ", tf.strings.as_string(index), " cannot be used: "])
    assertions = [
        tf.debugging.Assert(is_sound, [tf.strings.join([beginning, text])])
        for text, is_sound in faults
    ]
    with tf.control_dependencies(assertions):
        return {name: tf.identity(leaf) for name, leaf in leaves.items()}


def _array(name: str, leaf: Any) -> np.ndarray:
    try:
        return np.asarray(leaf)
    except ValueError:
        raise ValueError(f"{name} must be an array, got rows of different lengths.") from None
