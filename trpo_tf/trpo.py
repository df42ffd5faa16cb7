"""Trust region policy optimisation, on and off policy, as a composition of the parts."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trpo_tf import functional, staleness
from trpo_tf.advantage import Advantage
from trpo_tf.execution import Execution
from trpo_tf.moments import weighted_variance
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import policy_version
from trpo_tf.replay import Replay
from trpo_tf.rollout_rows import (
    critic_values,
    flat_rows,
    make_batch,
    target_log_probs,
    without_last,
)
from trpo_tf.types import FULL_CORRECTION, Correction, Rollout, StepStatus, UpdateInfo
from trpo_tf.value_regression import ValueRegression

# Far apart, so that neighbouring seeds of runs do not share orders of minibatches.
_SEED_STRIDE = 7919

# Numbers up to this share of the square root of the largest float are usable: in float32 2e13. The
# rest is room for sums over rows and for returns of many rewards.
_LARGEST_SHARE = 1e-6


class _Behaviour(NamedTuple):
    """How the policy that drew the rows relates to π_old; rows [T, B].

    Where a part of the correction is switched off, its entry is what it would be on policy.

    Attributes:
        trace_log_probs: log π_old, for traces and value targets.
        importance_weights: truncated π_old/β, for the surrogate.
        centring_weights: the same by the weight of age, for the centring of advantages.
        max_kl: the trust region that is left around π_old.
        weights: of rows that count, by the age of their rollout, 1 for the newest; else 0.
        info: what is reported.
    """

    trace_log_probs: Any
    importance_weights: Any
    centring_weights: Any
    max_kl: Any
    weights: Any
    info: dict[str, Any]


class TRPO:
    """Improves a policy and its critic by one rollout at a time.

    One `update` is one graph's call: values, log π_old of stale rows, advantages and the policy's
    step, then the critic's fit, and then the running statistics of the models and of the return,
    which so change only between an update and the next collection. The first two are compiled
    apart: as one program they take some 100 MiB more while they are compiled.

    Off policy the correction enters that call as data: rows of the current policy version take
    log π_old := log β, so on policy every ratio is 1 and the distance 0, exactly.

    Advantages are normalised, so that those of a critic that predicts every return would move the
    policy as far as any others, though they are no more than its rounding: a perfect policy walks
    away. Where the values' corrections (on policy the advantages before they are normalised)
    deviate by less than `min_advantage`, δ is taken times (deviation / `min_advantage`)².

    With `replay` an update learns from the last rollouts too. The running statistics take the rows
    of the new one only, as they had the others'; what is reported are weighted means over all.

    Source: Schulman et al. 2015; Meng et al. 2021 (stale data).

    Args:
        policy: a Keras model, observations ↦ `tfd.Distribution`; built.
        value_function: a Keras model, observations ↦ values [N] in units of reward; built.
        advantage: how actions are judged; its `return_scaling` is kept up to date here.
        optimizer: the policy's step; its `chunk_rows` also bounds the passes made here.
        value_regression: the critic's fit; None: `ValueRegression()`.
        correction: how stale rows are corrected for; they are always measured.
        max_lag: rows older than this many updates are dropped and counted; None: none are. Rows
            that come to be too old while they are replayed are dropped and not counted: they had
            been of use.
        execution: how `update` runs.
        seed: of the minibatches' order.
        replay: the rollouts that are used again, for this object alone; None: none are.
        min_advantage: deviation of the advantages, in units of the return's (`return_scaling`;
            without it nothing is compared), below which the trust region shrinks; 0: never. Where
            there was something to learn they were seen above 0.007, under perfect policies of
            InvertedPendulum at 0.00001. A large constant reward enlarges that unit: take less,
            or 0, where what is to be learnt is a thousandth of it.

    Raises:
        ValueError: if `max_lag` or `min_advantage` is negative.
    """

    def __init__(
        self,
        policy: keras.Model,
        value_function: keras.Model,
        advantage: Advantage,
        optimizer: NaturalGradientOptimizer,
        value_regression: ValueRegression | None = None,
        correction: Correction = FULL_CORRECTION,
        max_lag: int | None = None,
        execution: Execution = Execution.XLA,
        seed: int = 0,
        replay: Replay | None = None,
        min_advantage: float = 1e-3,
    ) -> None:
        if not 0 <= min_advantage < np.inf:
            raise ValueError(
                f"min_advantage must be >= 0 and finite, got {min_advantage}. 0.001 is typical."
            )
        if max_lag is not None and max_lag < 0:
            raise ValueError(f"max_lag must be >= 0 or None, got {max_lag}.")
        if policy.compute_dtype != value_function.compute_dtype:
            raise ValueError(
                f"policy and value function must have one dtype, got {policy.compute_dtype} and "
                f"{value_function.compute_dtype}."
            )
        self.policy = policy
        self.value_function = value_function
        self.advantage = advantage
        self.optimizer = optimizer
        self.value_regression = value_regression or ValueRegression()
        self.correction = correction
        self.max_lag = np.iinfo(np.int64).max if max_lag is None else max_lag
        self.seed = seed
        self.replay = replay or Replay(num_rollouts=1)
        self.min_advantage = min_advantage
        self.policy_version = policy_version(policy)
        self._compiled_improve = execution.compile(self._improve)
        self._compiled_fit = execution.compile(self.value_regression.fit_inside)
        whole = Execution.GRAPH if execution is Execution.XLA else execution
        self._compiled_update = whole.compile(self._update)

    def update(self, rollout: Rollout) -> UpdateInfo:
        """Improves policy and critic on a rollout; adds one to the policy's version.

        A rollout with NaN, infinite or absurd (see `StepStatus.NON_FINITE_ROLLOUT`) observations,
        rewards or log-probabilities is refused: no variable changes but the version and the running
        return of episodes that ended, and the status says why. It is never replayed; and as a
        gradient that is not finite may be any row's fault, then all rollouts are forgotten.

        Args:
            rollout: of T steps and B environments; other shapes than before are compiled anew
                (and refused with replay or, for another B, return scaling). With replay it must not
                be written into afterwards.

        Returns:
            An `UpdateInfo` of NumPy scalars, its `status` a `StepStatus`.

        Raises:
            ValueError: with replay, if the rollout has other shapes than the last ones.
        """
        self._build(rollout)
        info = self._compiled_update(
            self._as_tensors(self.replay.merge(rollout)),
            tf.nest.map_structure(tf.constant, self.correction),
            self.seed,
        )
        self.policy_version.assign_add(1)
        info = tf.nest.map_structure(lambda scalar: scalar.numpy(), info)
        info = info._replace(status=StepStatus(info.status))
        if info.status is StepStatus.NON_FINITE_GRADIENT:
            self.replay.clear()
        elif info.status is not StepStatus.NON_FINITE_ROLLOUT:
            self.replay.remember(rollout)
        return info

    def _as_tensors(self, rollout: Rollout) -> Rollout:
        dtype = self.policy.compute_dtype
        return Rollout(
            observations=tf.nest.map_structure(tf.convert_to_tensor, rollout.observations),
            actions=functional.as_inputs(rollout.actions, dtype),
            behaviour_log_probs=tf.cast(rollout.behaviour_log_probs, dtype),
            rewards=tf.cast(rollout.rewards, dtype),
            terminated=tf.convert_to_tensor(rollout.terminated),
            truncated=tf.convert_to_tensor(rollout.truncated),
            mask=tf.convert_to_tensor(rollout.mask),
            policy_version=tf.cast(rollout.policy_version, tf.int64),
        )

    def checkpointables(self) -> dict[str, Any]:
        """Everything that an update reads and writes, by name, for a checkpoint."""
        self.value_regression.build(self.value_function)
        parts = {
            "policy": self.policy,
            "policy_version": self.policy_version,
            "value_function": self.value_function,
            "value_optimizer": self.value_regression.optimizer,
        }
        scaling = self.advantage.return_scaling
        if scaling is not None:
            parts |= {
                "return_scaling_count": scaling.count,
                "return_scaling_mean": scaling.mean,
                "return_scaling_variance": scaling.variance,
                "return_scaling_discounted_return": scaling.discounted_return,
            }
        return parts

    def _build(self, rollout: Rollout) -> None:
        for model in (self.policy, self.value_function):
            if not functional.is_built(model):
                model(tf.nest.map_structure(lambda rows: rows[0, :1], rollout.observations))
        self.value_regression.build(self.value_function)

    def _update(self, rollout: Rollout, correction: Correction, seed: Any) -> UpdateInfo:
        new_policy, info, rows, usable = self._compiled_improve(rollout, correction)
        seed = tf.cast(self.policy_version, tf.int32) * _SEED_STRIDE + seed
        # In the new unit from the very first fit on: an optimizer's moments of gradients in another
        # unit would hold its steps down for dozens of updates.
        newest = self._newest(rollout)
        scale = self._update_scale(usable, newest)
        # Without a row, the optimizer's momentum alone would move the critic.
        has_rows = usable & tf.reduce_any(rows[2] > 0)
        loss = self._compiled_fit(self.value_function, *rows, scale, seed, has_rows)
        # The statistics are the critic's, too.
        with tf.control_dependencies([loss]):
            for variable, value in zip(self.policy.trainable_variables, new_policy, strict=True):
                variable.assign(tf.where(usable, value, variable.value))
            self._update_statistics(usable, newest)
        return info._replace(value_loss=loss)

    def _improve(
        self, rollout: Rollout, correction: Correction
    ) -> tuple[list[Any], UpdateInfo, tuple[Any, Any, Any], Any]:
        """The policy's new parameters, what is reported, and what the critic's fit takes.

        The last two are observations, value targets and weights of the rows, and whether the
        rollout's numbers are usable; nothing is assigned.
        """
        values = critic_values(self.value_function, rollout, self.optimizer.chunk_rows)
        max_kl = self.replay.max_kl
        if max_kl is None:
            max_kl = self.optimizer.constraint.max_kl_at(self.policy_version)
        max_kl = tf.cast(max_kl, self.policy.compute_dtype)
        behaviour = self._behaviour(rollout, max_kl, correction)
        kept = rollout._replace(mask=behaviour.weights > 0)
        estimate = self.advantage(
            kept,
            values,
            behaviour.trace_log_probs,
            behaviour.centring_weights,
            self.policy_version,
        )
        batch = make_batch(rollout, estimate, behaviour.importance_weights, behaviour.weights)
        targets, values = flat_rows(estimate.value_targets), flat_rows(values[:-1])
        max_kl = behaviour.max_kl * self._share_of_max_kl(targets - values, batch.weights)
        new_policy, info = self.optimizer.propose(self.policy, batch, max_kl)
        usable = _is_finite(rollout)
        info = _refuse_unless(usable, info)._replace(
            explained_variance=_explained_variance(targets, values, batch.weights),
            **behaviour.info,
        )
        return new_policy, info, (batch.observations, targets, batch.weights), usable

    def _behaviour(self, rollout: Rollout, max_kl: Any, correction: Correction) -> _Behaviour:
        lag = self.policy_version - rollout.policy_version
        kept = rollout.mask & (lag <= self.max_lag)
        behaviour_log_probs = rollout.behaviour_log_probs
        num_envs = self._num_envs(rollout)
        age_weights = tf.constant(
            self.replay.column_weights(num_envs), dtype=behaviour_log_probs.dtype
        )
        weights = tf.where(kept, age_weights, 0)
        # The same action may get another last bit from another program, so rows of the current
        # version take the log-probability that was stored: their ratio is 1, exactly.
        recomputed = tf.cond(
            tf.reduce_any(lag != 0),
            lambda: target_log_probs(self.policy, rollout, self.optimizer.chunk_rows),
            lambda: behaviour_log_probs,
        )
        target = tf.where(lag == 0, behaviour_log_probs, recomputed)
        ratio = staleness.importance_ratio(target, behaviour_log_probs)
        travelled = staleness.behaviour_kl(target, behaviour_log_probs, weights)
        total = tf.reduce_sum(weights)
        info = {
            "policy_lag": tf.math.divide_no_nan(
                tf.reduce_sum(tf.where(kept, weights * tf.cast(lag, weights.dtype), 0)), total
            ),
            "effective_sample_size": staleness.effective_sample_size(ratio, weights),
            "behaviour_kl": travelled,
            "dropped_rows": _count((rollout.mask & ~kept)[:, :num_envs]),
            "replayed_rows": _count(kept[:, num_envs:]),
        }
        importance = self.advantage.importance_weights(rollout._replace(mask=kept), target)
        return _Behaviour(
            trace_log_probs=tf.where(correction.traces, target, behaviour_log_probs),
            importance_weights=tf.where(correction.weights, importance, 1),
            centring_weights=age_weights * tf.where(correction.centring, importance, 1),
            max_kl=staleness.effective_max_kl(
                max_kl, tf.where(correction.trust_region, travelled, 0)
            ),
            weights=weights,
            info=info,
        )

    def _share_of_max_kl(self, errors: Any, weights: Any) -> Any:
        """What is left of δ where the values' errors [N] are next to nothing, [] in [0, 1]."""
        scaling = self.advantage.return_scaling
        if scaling is None or not self.min_advantage:
            return tf.ones([], errors.dtype)
        deviation = tf.cast(scaling.relative_deviation(errors, weights), errors.dtype)
        # Of errors that are no numbers the whole: the rollout is refused, and says why.
        share = (deviation / self.min_advantage) ** 2
        return tf.where(deviation < self.min_advantage, share, 1)

    def _num_envs(self, rollout: Rollout) -> int:
        """B of one rollout among those that were merged."""
        return int(rollout.rewards.shape[1]) // self.replay.num_rollouts

    def _newest(self, rollout: Rollout) -> Rollout:
        """One rollout among those that were merged."""
        num_envs = self._num_envs(rollout)
        newest: Rollout = tf.nest.map_structure(lambda rows: rows[:, :num_envs], rollout)
        return newest

    def _update_scale(self, usable: Any, rollout: Rollout) -> Any:
        """Brings the critic's unit up to date, its values unchanged; returns the unit."""
        dtype = self.value_function.compute_dtype
        scaling = self.advantage.return_scaling
        if scaling is None:
            return tf.ones([], dtype)
        scaling.update(rollout._replace(mask=rollout.mask & usable))
        if hasattr(self.value_function, "set_output_scale"):
            self.value_function.set_output_scale(scaling.scale)
        return tf.cast(scaling.scale, dtype)

    def _update_statistics(self, usable: Any, rollout: Rollout) -> None:
        weights = tf.cast(rollout.mask & usable, rollout.rewards.dtype)
        observations = flat_rows(without_last(rollout.observations))
        for model in (self.policy, self.value_function):
            if hasattr(model, "update_statistics"):
                model.update_statistics(observations, flat_rows(weights))


def _count(flags: Any) -> Any:
    return tf.reduce_sum(tf.cast(flags, tf.int64))


def _is_finite(rollout: Rollout) -> Any:
    """Whether all numbers of rows that count, and of all observations, can be squared and summed.

    The running statistics could never forget a number that is not, as their variance would be
    infinite.
    """
    floats = [
        tensor for tensor in tf.nest.flatten(rollout.observations) if tensor.dtype.is_floating
    ]
    floats += [
        tf.where(rollout.mask, rows, 0) for rows in (rollout.rewards, rollout.behaviour_log_probs)
    ]
    limit = _LARGEST_SHARE * np.sqrt(np.finfo(rollout.rewards.dtype.as_numpy_dtype).max)
    # In this dtype: in a narrower one the limit itself would be infinite.
    floats = [tf.cast(tensor, rollout.rewards.dtype) for tensor in floats]
    return tf.reduce_all([tf.reduce_all(tf.abs(tensor) <= limit) for tensor in floats])


def _refuse_unless(usable: Any, info: UpdateInfo) -> UpdateInfo:
    return info._replace(
        accepted=info.accepted & usable,
        kl=tf.where(usable, info.kl, 0),
        step_size=tf.where(usable, info.step_size, 0),
        surrogate_after=tf.where(usable, info.surrogate_after, info.surrogate_before),
        status=tf.where(usable, info.status, StepStatus.NON_FINITE_ROLLOUT.value),
    )


def _explained_variance(targets: Any, values: Any, weights: Any) -> Any:
    """1 − Var(targets − values)/Var(targets) over rows that count; 0 where targets never vary."""
    spread = weighted_variance(targets, weights)
    left = weighted_variance(targets - values, weights)
    return tf.where(spread > 0, 1 - tf.math.divide_no_nan(left, spread), 0)
