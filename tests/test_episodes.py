"""Masks and episode statistics against a walk through the rows one by one."""

from __future__ import annotations

import numpy as np
import pytest

from trpo_tf.samplers.episodes import EpisodeTracker, valid_rows


def random_flags(seed, num_steps=40, num_envs=5):
    rng = np.random.default_rng(seed)
    flags = [rng.random((num_steps, num_envs)) < 0.25 for _ in range(2)]
    return *flags, rng.normal(size=(num_steps, num_envs))


def walk(terminated, truncated, rewards):
    """Slow: each environment row by row; what the environment says on a dummy row is ignored."""
    mask = np.ones(terminated.shape, bool)
    episodes = []
    for env in range(mask.shape[1]):
        total, length, dummy = 0.0, 0, False
        for step in range(mask.shape[0]):
            if dummy:
                mask[step, env], dummy = False, False
                continue
            total, length = total + rewards[step, env], length + 1
            if terminated[step, env] or truncated[step, env]:
                episodes.append((step, env, total, length))
                total, length, dummy = 0.0, 0, True
    return mask, sorted(episodes)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [40, 1, 7])
def test_masks_and_episodes_of_rollouts_cut_anywhere(seed, rows):
    terminated, truncated, rewards = random_flags(seed)
    expected_mask, expected = walk(terminated, truncated, rewards)
    ended = np.zeros(terminated.shape[1], bool)
    tracker = EpisodeTracker(terminated.shape[1])
    masks, returns, lengths = [], [], []
    for first in range(0, len(rewards), rows):
        part = slice(first, first + rows)
        mask = valid_rows(terminated[part], truncated[part], ended)
        done = (terminated[part] | truncated[part]) & mask
        stats = tracker.add(rewards[part], done, mask)
        ended = done[-1]
        masks.append(mask)
        returns.append(stats.returns)
        lengths.append(stats.lengths)
    np.testing.assert_array_equal(np.concatenate(masks), expected_mask)
    np.testing.assert_array_equal(np.concatenate(returns), [total for _, _, total, _ in expected])
    np.testing.assert_array_equal(np.concatenate(lengths), [length for *_, length in expected])


def test_rewards_of_dummy_rows_do_not_count():
    ended = np.array([[True], [False], [True]])
    mask = np.array([[True], [False], [True]])
    stats = EpisodeTracker(1).add(np.array([[1.0], [np.nan], [2.0]]), ended, mask)
    assert stats.returns.tolist() == [1.0, 2.0]
    assert stats.lengths.tolist() == [1, 1]


def test_returns_are_summed_in_float64():
    rewards = np.array([[1e9], [1e-6]])
    stats = EpisodeTracker(1).add(rewards, np.array([[False], [True]]), np.ones([2, 1], bool))
    assert stats.returns.tolist() == [1e9 + 1e-6]


def test_no_episode_ended():
    stats = EpisodeTracker(2).add(np.ones([3, 2]), np.zeros([3, 2], bool), np.ones([3, 2], bool))
    assert (stats.returns.shape, stats.lengths.shape) == ((0,), (0,))
    assert (stats.returns.dtype, stats.lengths.dtype) == (np.float64, np.int64)


def test_the_sums_of_episodes_under_way_go_on_in_another_tracker():
    mask, none = np.ones([1, 2], bool), np.zeros([1, 2], bool)
    first = EpisodeTracker(2)
    first.add(np.array([[0.1, 2.0]]), none, mask)
    state = first.state()
    second = EpisodeTracker(2)
    second.restore(state)
    for tracker in (first, second):
        stats = tracker.add(np.array([[0.2, 1.0]]), np.array([[True, False]]), mask)
        assert (stats.returns.tolist(), stats.lengths.tolist()) == ([0.1 + 0.2], [2])
    assert state["episode_returns"].tolist() == [0.1, 2.0], "it is a copy"
    assert second.state()["episode_lengths"].tolist() == [0, 2]
