"""The records that travel between the parts. Letters: T steps, B environments, N = T·B rows."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np


class Rollout(NamedTuple):
    """What a sampler collected, time-major, raw data only.

    Attributes:
        observations: [T+1, B, *O], as the environment gave them (a nest of such arrays for Dict
            and Tuple spaces). Row t+1 after an episode's last step is its true final observation.
        actions: [T, B, *A], as drawn from the distribution, not clipped.
        behaviour_log_probs: [T, B], log β(a|s) at sampling time.
        rewards: [T, B], raw.
        terminated: [T, B] bool, the episode ended in a terminal state.
        truncated: [T, B] bool, the episode was cut, by a time limit say.
        mask: [T, B] bool, False on the dummy row that NEXT_STEP autoreset inserts after each
            episode; such rows weigh zero everywhere.
        policy_version: [T, B] int64, the count of updates of the policy that drew each row.
    """

    observations: Any
    actions: Any
    behaviour_log_probs: Any
    rewards: Any
    terminated: Any
    truncated: Any
    mask: Any
    policy_version: Any


class Batch(NamedTuple):
    """Flat rows for one policy step.

    Attributes:
        observations: [N, *O].
        actions: [N, *A], as drawn.
        advantages: [N], normalised or not.
        behaviour_log_probs: [N], log β(a|s).
        weights: [N], how much a row counts in every mean; 0 for a masked row.
        importance_weights: [N] or None, the truncated π_old/β of each row. None: computed from
            `behaviour_log_probs` when the step begins.
    """

    observations: Any
    actions: Any
    advantages: Any
    behaviour_log_probs: Any
    weights: Any
    importance_weights: Any = None


class Correction(NamedTuple):
    """Which parts of an update account for a behaviour policy β that is not π_old.

    All four are on, and change nothing on policy; each can be switched off to study it.

    Attributes:
        traces: traces and value targets carry truncated ratios π_old/β.
        weights: the surrogate weighs each row by the truncated π_old/β.
        centring: advantages are centred by their mean under those weights.
        trust_region: δ shrinks by the distance that π_old has already moved away from β.
    """

    traces: bool = True
    weights: bool = True
    centring: bool = True
    trust_region: bool = True


FULL_CORRECTION = Correction()

NO_CORRECTION = Correction(traces=False, weights=False, centring=False, trust_region=False)
"""All rows are taken for rows of π_old, as well-known implementations do."""


class AdvantageEstimate(NamedTuple):
    """Advantages of the actions taken and targets for the critic, both [T, B]."""

    advantages: Any
    value_targets: Any


class EpisodeStats(NamedTuple):
    """Episodes that ended, in the order in which they did.

    Attributes:
        returns: [E] float64, undiscounted sums of raw rewards.
        lengths: [E] int64, environment steps.
    """

    returns: np.ndarray
    lengths: np.ndarray


class StepStatus(enum.IntEnum):
    """How a policy step ended; `remedy` says what to do about it."""

    ACCEPTED = 0
    ZERO_GRADIENT = 1
    NON_FINITE_ROLLOUT = 2
    NON_FINITE_GRADIENT = 3
    NO_DESCENT = 4
    KL_TOO_LARGE = 5
    NO_IMPROVEMENT = 6

    @property
    def remedy(self) -> str:
        """What happened and what to do, in one sentence."""
        return _REMEDIES[self]


_REMEDIES = {
    StepStatus.ACCEPTED: "The step was taken.",
    StepStatus.ZERO_GRADIENT: (
        "The surrogate's gradient is zero: all advantages are equal or all rows are masked; "
        "collect more varied data."
    ),
    StepStatus.NON_FINITE_ROLLOUT: (
        "Observations, rewards or log-probabilities were NaN, infinite or too large to square "
        "(beyond 2e13 in float32); check the environment."
    ),
    StepStatus.NON_FINITE_GRADIENT: (
        "The surrogate or its gradient was NaN or infinite; check advantages and the policy."
    ),
    StepStatus.NO_DESCENT: (
        "Conjugate gradients found no finite direction of ascent; raise `damping` or use float64."
    ),
    StepStatus.KL_TOO_LARGE: (
        "No candidate stayed inside the trust region; raise the line search's evaluations, "
        "`damping` or `max_kl`, or use float64 if the policy's deviations are tiny."
    ),
    StepStatus.NO_IMPROVEMENT: (
        "Candidates inside the trust region did not improve the surrogate; lower `max_kl` or "
        "collect more rows."
    ),
}


class UpdateInfo(NamedTuple):
    """What one update did; every field is a scalar.

    Attributes:
        surrogate_before: mean weighted surrogate at π_old.
        surrogate_after: the same at the policy that the update leaves.
        kl: measured mean KL(π_old ‖ π_new), in nats; 0 when refused.
        accepted: whether the policy moved.
        status: a `StepStatus`; its number as a tensor where the step is not `TRPO.update`'s.
        num_backtracks: line-search candidates that were refused.
        cg_residual_norm: ‖b − (F + λI)x‖ / ‖b‖ at the end of conjugate gradients, as their
            recursion carries it.
        cg_iterations: iterations that conjugate gradients took.
        step_size: multiple of the direction x that was taken; 0 when refused.
        max_kl: the trust region δ of this update, after schedule, staleness and `min_advantage`.
        entropy: mean entropy of π_old in nats (of −log π_old where it has no closed form).
        value_loss: mean squared error of the critic in its own scale, last epoch.
        explained_variance: 1 − Var(targets − values)/Var(targets), before the critic's fit.
        policy_lag: mean age of the rows in updates.
        effective_sample_size: (Σρ)²/Σρ² as a fraction of the rows that count.
        behaviour_kl: the estimate of E KL(β ‖ π_old), in nats.
        dropped_rows: rows of the new rollout refused for being older than the maximum lag.
        replayed_rows: rows of earlier rollouts that counted again.
    """

    surrogate_before: Any
    surrogate_after: Any
    kl: Any
    accepted: Any
    status: Any
    num_backtracks: Any
    cg_residual_norm: Any
    cg_iterations: Any = 0
    step_size: Any = 0.0
    max_kl: Any = float("nan")
    entropy: Any = float("nan")
    value_loss: Any = float("nan")
    explained_variance: Any = float("nan")
    policy_lag: Any = 0.0
    effective_sample_size: Any = 1.0
    behaviour_kl: Any = 0.0
    dropped_rows: Any = 0
    replayed_rows: Any = 0
