"""What a vector environment's flags mean: which rows are real, and which episodes ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trpo_tf.types import EpisodeStats


def valid_rows(terminated: Any, truncated: Any, ended_before: Any) -> np.ndarray:
    """Marks the real rows of NEXT_STEP autoreset: all but the one after each episode's last.

    On that dummy row the environment ignores the action and answers with the first observation of
    its next episode.

    Args:
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        ended_before: [B] bool, whether the row before the first one ended an episode.

    Returns:
        [T, B] bool.

    >>> ended = np.array([[False], [True], [False], [True]])
    >>> valid_rows(ended, np.zeros_like(ended), np.array([True]))[:, 0].tolist()
    [False, True, False, True]
    """
    mask = np.empty(np.shape(terminated), bool)
    ended = np.asarray(ended_before)
    for row, done in enumerate(np.logical_or(terminated, truncated)):
        mask[row] = ~ended
        ended = done & mask[row]
    return mask


class EpisodeTracker:
    """Sums the rewards and steps of the episodes that are under way, from rollout to rollout.

    Args:
        num_envs: B.
    """

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs, np.float64)
        self._lengths = np.zeros(num_envs, np.int64)

    def add(self, rewards: Any, ended: Any, mask: Any) -> EpisodeStats:
        """Adds a rollout's rows and gives the episodes that ended in it, in order of time.

        Args:
            rewards: [T, B] float64, raw.
            ended: [T, B] bool, terminated or truncated.
            mask: [T, B] bool, the real rows.

        >>> ended, mask = np.array([[False], [True]]), np.ones([2, 1], bool)
        >>> EpisodeTracker(1).add(np.array([[1.0], [2.0]]), ended, mask).returns.tolist()
        [3.0]
        """
        returns, lengths = [np.zeros(0, np.float64)], [np.zeros(0, np.int64)]
        rewards = np.where(mask, rewards, 0.0)
        for row, row_ended in enumerate(ended):
            self._returns += rewards[row]
            self._lengths += mask[row]
            if row_ended.any():
                returns.append(self._returns[row_ended])
                lengths.append(self._lengths[row_ended])
                self._returns[row_ended] = 0.0
                self._lengths[row_ended] = 0
        return EpisodeStats(np.concatenate(returns), np.concatenate(lengths))

    def state(self) -> dict[str, np.ndarray]:
        """The sums so far of the episodes under way, [B] each."""
        return {"episode_returns": self._returns.copy(), "episode_lengths": self._lengths.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes up the sums of `state()`."""
        self._returns[:] = state["episode_returns"]
        self._lengths[:] = state["episode_lengths"]
