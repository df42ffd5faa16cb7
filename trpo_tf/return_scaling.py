"""The unit of the critic: the running deviation of the discounted return."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from trpo_tf.moments import weighted_variance
from trpo_tf.types import Rollout


class ReturnScaling:
    """Tracks the standard deviation of R_t = r_t + γ (1 − done_{t−1}) R_{t−1}.

    Advantages are normalised, so the policy does not see the unit of rewards; the critic does.
    Dividing by this deviation (without subtracting a mean) keeps its targets near 1 whatever the
    environment pays (Engstrom et al. 2020; every strong baseline). Nothing is clipped, so no reward
    is ever distorted.

    A column is taken for one environment that goes on from rollout to rollout. Where another takes
    its place in between (a worker that was replaced, a part that stands in for a missing one), its
    first episode begins with the return of the one before, an error that fades with γ^t and touches
    the unit alone.

    Variables: `count` [], `mean` [], `variance` [], float32 or `dtype`; `discounted_return` [B].

    Args:
        discount: γ of the running return, in [0, 1].
        num_envs: B, the environments of every rollout.
        dtype: of the variables.

    Raises:
        ValueError: if an argument is out of range.

    >>> ReturnScaling(discount=0.99, num_envs=2).scale.numpy().item()
    1.0
    """

    def __init__(self, discount: float, num_envs: int, dtype: str = "float32") -> None:
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must lie in [0, 1], got {discount}. 0.99 is typical.")
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1, got {num_envs}.")
        self.discount = discount
        self.count = tf.Variable(0, dtype=dtype, trainable=False, name="count")
        self.mean = tf.Variable(0, dtype=dtype, trainable=False, name="mean")
        self.variance = tf.Variable(1, dtype=dtype, trainable=False, name="variance")
        self.discounted_return = tf.Variable(
            tf.zeros([num_envs], dtype), trainable=False, name="discounted_return"
        )

    @property
    def scale(self) -> Any:
        """The deviation, [], in units of reward; 1 before any data or when rewards never vary."""
        deviation = tf.sqrt(self.variance)
        return tf.where((self.count > 0) & (deviation > 1e-8), deviation, 1)

    def relative_deviation(self, errors: Any, weights: Any) -> Any:
        """The weighted standard deviation of errors [N] in this unit, []; ∞ before any data."""
        dtype = self.mean.dtype
        variance = weighted_variance(tf.cast(errors, dtype), tf.cast(weights, dtype))
        return tf.where(self.count > 0, tf.sqrt(variance) / self.scale, np.inf)

    def update(self, rollout: Rollout) -> None:
        """Follows the return through a rollout [T, B] and merges it; masked rows do not count.

        Raises:
            ValueError: if the rollout has another number of environments.
        """
        num_envs = self.discounted_return.shape[0]
        if rollout.rewards.shape[1] != num_envs:
            raise ValueError(
                f"ReturnScaling was made for {num_envs} environments, got a rollout of "
                f"{rollout.rewards.shape[1]}; give num_envs={rollout.rewards.shape[1]}."
            )
        dtype = self.mean.dtype
        mask = tf.convert_to_tensor(rollout.mask)
        rewards = tf.where(mask, tf.cast(rollout.rewards, dtype), 0)
        done = tf.cast(tf.logical_or(rollout.terminated, rollout.truncated), dtype)

        def follow(carried: tuple[Any, Any], row: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            reward, row_done, valid = row
            current = tf.where(valid, reward + self.discount * carried[0], carried[0])
            return current * (1 - row_done), current

        start = (tf.convert_to_tensor(self.discounted_return),) * 2
        after, returns = tf.scan(follow, (rewards, done, mask), initializer=start)
        self.discounted_return.assign(after[-1])
        self._merge(returns, tf.cast(mask, dtype))

    def begin_episodes(self) -> None:
        """Forgets the returns under way: every environment's next step is in a new episode."""
        self.discounted_return.assign(tf.zeros_like(self.discounted_return))

    def _merge(self, values: Any, weights: Any) -> None:
        added = tf.reduce_sum(weights)
        batch_mean = tf.math.divide_no_nan(tf.reduce_sum(weights * values), added)
        batch_square = tf.reduce_sum(weights * (values - batch_mean) ** 2)
        total = self.count + added
        delta = batch_mean - self.mean
        square = (
            self.variance * self.count
            + batch_square
            + delta**2 * tf.math.divide_no_nan(self.count * added, total)
        )
        self.variance.assign(
            tf.where(added > 0, tf.math.divide_no_nan(square, total), self.variance)
        )
        self.mean.assign_add(delta * tf.math.divide_no_nan(added, total))
        self.count.assign(total)
