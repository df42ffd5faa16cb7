"""The last rollouts, kept and put side by side, so that one update learns from all of them."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trpo_tf.types import Rollout


class Replay:
    """Keeps the last M − 1 rollouts; an update learns from them and the new one, M in all.

    For environments whose steps are expensive: each row is used M times. With β_i the policy that
    drew the rollout of age i = 0 … M−1 and ν_i its weight, Σν_i = 1, the update solves

        maximise_θ  Σ_i ν_i E_{β_i}[π_θ/β_i Â]
        subject to  Σ_i ν_i E_{β_i} KL(π_old ‖ π_θ) ≤ δ_eff

    so surrogate, KL, Fisher matrix, centring of advantages, distance and critic's loss are means
    over the rows of all M, weighted by age. (The deviation by which advantages are divided counts
    all rows alike: it is a unit, on which no step depends.) Values, advantages and log π_old are
    computed anew from the present models; what makes old rows right is `TRPO`'s correction for
    stale ones.

    How far to step: K = Σ ν_i E KL(β_i ‖ π_old) is measured, and the correction takes the distance
    travelled off the budget (`staleness.effective_max_kl`). If every step went the same way, δ_eff
    would settle at 0.59 δ for M = 2 and at 0.44 δ for M = 3, equal weights. GeTRPO fixes the worst
    case beforehand instead: by the triangle inequality of total variation, steps of

        δ_Ge = δ / (Σ_i ν_i (i + 1))²

    (0.44 δ and 0.25 δ) lose no more than on-policy steps of δ do. To have that, give it as `max_kl`
    and switch `Correction.trust_region` off; with both, the distance is paid for twice.

    A critic that learns by minibatches takes M times as many gradient steps an update: its epochs
    are passes over all rows. Until M rollouts are there, copies of the newest that count nowhere
    stand in for the missing ones, so that shapes never change and XLA compiles once.

    The memory is the host's, not copied (so a rollout must not be written into after an update),
    and in no checkpoint: after a resume it begins empty.

    Source: Queeney et al. 2021 (generalised PPO with sample reuse), 2022 (GeTRPO).

    Args:
        num_rollouts: M ≥ 1; 1 is no replay.
        weights: how much a row counts by its rollout's age, M numbers > 0, newest first; None: all
            alike. Only their ratios matter: they are scaled so that the newest rows weigh 1.
        max_kl: δ of an update; None: the constraint's.

    Attributes:
        num_rollouts: M.
        weights: M numbers, the first one 1.
        max_kl: as given.

    Raises:
        ValueError: if an argument is out of range.

    >>> rows = {name: np.zeros([5, 2]) for name in Rollout._fields}
    >>> rollout = Rollout(**rows | {"observations": np.zeros([6, 2, 3]), "mask": np.ones([5, 2])})
    >>> replay = Replay(num_rollouts=3, weights=[4, 2, 1])
    >>> replay.merge(rollout).observations.shape, int(replay.merge(rollout).mask.sum())
    ((6, 6, 3), 10)
    >>> replay.remember(rollout)
    >>> int(replay.merge(rollout).mask.sum()), replay.column_weights(num_envs=2).tolist()
    (20, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25])
    """

    def __init__(
        self,
        num_rollouts: int = 3,
        weights: Sequence[float] | None = None,
        max_kl: float | None = None,
    ) -> None:
        if num_rollouts < 1:
            raise ValueError(f"num_rollouts must be >= 1, got {num_rollouts}. 2 to 4 is typical.")
        weights = [1.0] * num_rollouts if weights is None else list(weights)
        if len(weights) != num_rollouts or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(
                f"weights must be num_rollouts = {num_rollouts} finite numbers > 0, newest first, "
                f"got {weights}. None weighs all rollouts alike."
            )
        if max_kl is not None and not 0 < max_kl < math.inf:
            raise ValueError(
                f"max_kl must be > 0 and finite, or None, got {max_kl}. Typical values are 0.001 "
                "to 0.05."
            )
        if max_kl is not None and num_rollouts == 1:
            raise ValueError(
                f"max_kl must be None where num_rollouts is 1, got {max_kl}: nothing is replayed. "
                "Give it to the KLConstraint."
            )
        self.num_rollouts = num_rollouts
        self.weights = tuple(weight / weights[0] for weight in weights)
        self.max_kl = max_kl
        self._earlier: collections.deque[Rollout] = collections.deque(maxlen=num_rollouts - 1)

    @property
    def remembered(self) -> tuple[Rollout, ...]:
        """The rollouts that are kept, at most M − 1, newest first."""
        return tuple(self._earlier)

    def merge(self, rollout: Rollout) -> Rollout:
        """A new rollout and those that are kept, side by side along the environments' axis.

        Args:
            rollout: of T steps and B environments.

        Returns:
            A rollout of T steps and B·M environments, the new one's columns first, then by age; the
            columns of missing rollouts are masked. With M = 1 the rollout itself.

        Raises:
            ValueError: if the rollout has other shapes than those that are kept.
        """
        if self.num_rollouts == 1:
            return rollout
        newest = _as_arrays(rollout)
        self._check_shapes(newest)
        absent = newest._replace(mask=np.zeros_like(newest.mask))
        parts = [newest, *self._earlier]
        parts += [absent] * (self.num_rollouts - len(parts))
        merged = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays, axis=1), *parts)
        return Rollout(*merged)

    def column_weights(self, num_envs: int) -> np.ndarray:
        """How much the rows of each column of a merged rollout count, [B·M] float64.

        Args:
            num_envs: B of one rollout.
        """
        return np.repeat(np.array(self.weights), num_envs)

    def remember(self, rollout: Rollout) -> None:
        """Keeps a rollout and forgets the oldest beyond M − 1; nothing is copied."""
        self._earlier.appendleft(_as_arrays(rollout))

    def clear(self) -> None:
        """Forgets all rollouts."""
        self._earlier.clear()

    def _check_shapes(self, newest: Rollout) -> None:
        for earlier in self._earlier:
            shapes, before = (
                [array.shape for array in tf.nest.flatten(part)] for part in (newest, earlier)
            )
            if shapes != before:
                raise ValueError(
                    f"A replayed rollout must have the shapes of those that are kept, {before}, "
                    f"got {shapes}. After a change of the sampler call clear()."
                )


def _as_arrays(rollout: Rollout) -> Rollout:
    arrays: Any = tf.nest.map_structure(np.asarray, rollout)
    return Rollout(*arrays)
