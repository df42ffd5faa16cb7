"""Generalised advantage estimation, corrected for a stale behaviour policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.staleness import importance_ratio
from trpo_tf.types import AdvantageEstimate, Rollout


def generalized_advantages(
    rewards: Any,
    values: Any,
    terminated: Any,
    truncated: Any,
    mask: Any,
    discount: float,
    gae_lambda: Any,
    rho: Any,
    c: Any,
) -> tuple[Any, Any]:
    """Advantages Â and corrections Δ of the values, for any behaviour policy.

    With done = terminated or truncated,

        δ_t = r_t + γ (1 − terminated_t) V(s_{t+1}) − V(s_t)
        Δ_t = ρ_t δ_t + γ λ c_t (1 − done_t) Δ_{t+1}
        Â_t = δ_t + γ λ (1 − done_t) Δ_{t+1}

    The action that is judged carries no weight of its own in Â_t, because the surrogate weighs it.
    With ρ = c = 1 both are GAE(λ). A terminated row has no bootstrap value; a truncated one
    bootstraps from its true final observation, which is observations[t+1]; a row with both flags
    counts as terminated; the rollout's end bootstraps from observations[T]. Masked rows are 0.

    Source: Schulman et al. 2016 (GAE), eq. 16; Espeholt et al. 2018 (V-trace), eq. 1, whose
    policy-gradient advantage does not reduce to GAE(λ) and is not used.

    Args:
        rewards: [T, B].
        values: V at observations, [T+1, B], in units of reward.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        mask: [T, B] bool, False on rows that are no transition.
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1], a number, or a tensor [] in the values' dtype.
        rho: ρ, truncated ratios π_old/β, [T, B].
        c: truncated ratios of the trace without λ, [T, B].

    Returns:
        Â [T, B] and Δ [T, B]; V + Δ are the value targets.
    """
    dtype = values.dtype
    go_on = 1 - tf.cast(tf.logical_or(terminated, truncated), dtype)
    bootstrap = tf.where(terminated, tf.zeros([], dtype), values[1:])
    td_errors = tf.where(mask, rewards + discount * bootstrap - values[:-1], 0)
    rho, c = (tf.where(mask, ratio, 0) for ratio in (rho, c))

    def backwards(later: tuple[Any, Any], row: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
        td_error, row_rho, row_c, row_go_on = row
        trace = discount * gae_lambda * row_go_on * later[1]
        return td_error + trace, row_rho * td_error + row_c * trace

    zeros = tf.zeros_like(values[0])
    advantages, corrections = tf.scan(
        backwards, (td_errors, rho, c, go_on), initializer=(zeros, zeros), reverse=True
    )
    return tf.where(mask, advantages, 0), corrections


class Advantage:
    """Judges the actions of a rollout with a critic's values, by GAE(λ) or its corrected form.

    `advantage(rollout, values)` is GAE(λ). With `target_log_probs`, the log-probabilities under
    π_old of actions that another policy β drew, ratios truncated at `trace_clip` correct traces and
    targets. With `normalize`, advantages are centred and scaled over the rows that count, once:
    Ā = E[wÂ]/E[w] with the surrogate's own weights w = min(importance_clip, π_old/β), which leaves
    the surrogate's expectation 0 (Meng et al. 2021). Everything is in raw units of reward.

    Args:
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1]; 0.95 to 0.98 is typical. Or a Keras learning-rate schedule of it
            over the updates that `TRPO.update` counts: while the critic knows little a large λ does
            without it, later a smaller one leaves less noise in the advantages.
        normalize: centre and scale the advantages.
        return_scaling: the running unit of the critic, updated by `TRPO`; it holds variables.
        trace_clip: ρ̄ = c̄ > 0, the bound of the ratios in traces and targets; 1 as in V-trace.
        importance_clip: w̄ > 0, the bound of the surrogate's weights; 10 as in ACER.

    Raises:
        ValueError: if an argument is out of range, or shapes do not fit.

    >>> rollout = Rollout(
    ...     observations=tf.zeros([3, 1, 1]),
    ...     actions=tf.zeros([2, 1]),
    ...     behaviour_log_probs=tf.zeros([2, 1]),
    ...     rewards=tf.constant([[1.0], [3.0]]),
    ...     terminated=tf.constant([[False], [True]]),
    ...     truncated=tf.zeros([2, 1], tf.bool),
    ...     mask=tf.ones([2, 1], tf.bool),
    ...     policy_version=tf.zeros([2, 1], tf.int64),
    ... )
    >>> advantage = Advantage(discount=0.5, gae_lambda=1.0, normalize=False)
    >>> advantage(rollout, tf.zeros([3, 1])).value_targets.numpy().ravel().tolist()
    [2.5, 3.0]
    """

    def __init__(
        self,
        discount: float = 0.99,
        gae_lambda: float | LearningRateSchedule = 0.95,
        normalize: bool = True,
        return_scaling: ReturnScaling | None = None,
        trace_clip: float = 1.0,
        importance_clip: float = 10.0,
    ) -> None:
        for name, value in (("discount", discount), ("gae_lambda", gae_lambda)):
            if isinstance(value, LearningRateSchedule):
                continue
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}.")
        for name, value in (("trace_clip", trace_clip), ("importance_clip", importance_clip)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}. 1 to 10 is typical.")
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.normalize = normalize
        self.return_scaling = return_scaling
        self.trace_clip = trace_clip
        self.importance_clip = importance_clip

    def gae_lambda_at(self, num_updates: Any, dtype: Any = "float32") -> Any:
        """λ after a number of updates, []: a number, or a tensor if there is a schedule."""
        return (
            tf.cast(self.gae_lambda(num_updates), dtype)
            if isinstance(self.gae_lambda, LearningRateSchedule)
            else self.gae_lambda
        )

    def __call__(
        self,
        rollout: Rollout,
        values: Any,
        target_log_probs: Any = None,
        centring_weights: Any = None,
        num_updates: Any = 0,
    ) -> AdvantageEstimate:
        """Advantages and value targets, both [T, B].

        Args:
            rollout: of T steps and B environments.
            values: a critic's values of rollout.observations, [T+1, B].
            target_log_probs: log π_old(a|s), [T, B]; None: on policy.
            centring_weights: [T, B], with which advantages are centred; None: `importance_weights`.
            num_updates: made so far, [], of which λ may be a schedule.
        """
        values = tf.convert_to_tensor(values)
        _check_shapes(rollout, values)
        if target_log_probs is None:
            target_log_probs = rollout.behaviour_log_probs
        target_log_probs = tf.cast(target_log_probs, values.dtype)
        behaviour_log_probs = tf.cast(rollout.behaviour_log_probs, values.dtype)
        clipped = tf.minimum(
            importance_ratio(target_log_probs, behaviour_log_probs),
            tf.constant(self.trace_clip, values.dtype),
        )
        advantages, corrections = generalized_advantages(
            tf.cast(rollout.rewards, values.dtype),
            values,
            rollout.terminated,
            rollout.truncated,
            rollout.mask,
            self.discount,
            self.gae_lambda_at(num_updates, values.dtype),
            rho=clipped,
            c=clipped,
        )
        if self.normalize:
            if centring_weights is None:
                centring_weights = self.importance_weights(rollout, target_log_probs)
            mask = tf.convert_to_tensor(rollout.mask)
            advantages = _normalize(advantages, centring_weights, mask)
        return AdvantageEstimate(advantages=advantages, value_targets=values[:-1] + corrections)

    def importance_weights(self, rollout: Rollout, target_log_probs: Any) -> Any:
        """min(importance_clip, π_old/β) of each row, [T, B]; 1 on masked rows."""
        target_log_probs = tf.convert_to_tensor(target_log_probs)
        behaviour_log_probs = tf.cast(rollout.behaviour_log_probs, target_log_probs.dtype)
        ratio = importance_ratio(target_log_probs, behaviour_log_probs)
        clip = tf.constant(self.importance_clip, ratio.dtype)
        return tf.where(rollout.mask, tf.minimum(ratio, clip), 1)


def _normalize(advantages: Any, centring_weights: Any, mask: Any) -> Any:
    valid = tf.cast(mask, advantages.dtype)
    weights = valid * tf.cast(centring_weights, advantages.dtype)
    centre = tf.math.divide_no_nan(tf.reduce_sum(weights * advantages), tf.reduce_sum(weights))
    centred = tf.where(mask, advantages - centre, 0)
    # The largest magnitude goes first, so that squares cannot leave the range of the float type.
    largest = tf.reduce_max(tf.abs(centred))
    unit = tf.math.divide_no_nan(centred, largest)
    deviation = tf.sqrt(tf.math.divide_no_nan(tf.reduce_sum(unit**2), tf.reduce_sum(valid)))
    # Equal advantages leave only rounding errors; scaling those up would be learning from noise.
    rounding = 16 * np.finfo(unit.dtype.as_numpy_dtype).eps * tf.abs(centre)
    # (Written so that a NaN stays a NaN: the step refuses it and says so.)
    return tf.where(
        largest <= rounding, tf.zeros_like(unit), tf.math.divide_no_nan(unit, deviation)
    )


def _check_shapes(rollout: Rollout, values: Any) -> None:
    steps, envs = tuple(rollout.rewards.shape)
    if tuple(values.shape) != (steps + 1, envs):
        raise ValueError(
            f"values must be [T+1, B] = [{steps + 1}, {envs}] for this rollout, got "
            f"{list(values.shape)}; the last row values the observation after the last step."
        )
