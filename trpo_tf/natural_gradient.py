"""The policy step: natural-gradient direction, length by a search inside the trust region."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trpo_tf import functional, staleness
from trpo_tf.batch_passes import BatchPasses, OldPolicy, move
from trpo_tf.conjugate_gradient import CGResult, conjugate_gradient
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import FillTrustRegion, LineSearch, SearchResult
from trpo_tf.policies import policy_version
from trpo_tf.preconditioner import DiagonalPreconditioner
from trpo_tf.rounding import measurable_max_kl, rounding_kl
from trpo_tf.types import Batch, StepStatus, UpdateInfo


class NaturalGradientOptimizer:
    """Maximises E[π_θ/β Â] subject to the constraint, one TRPO step at a time.

    The direction x solves (F + λI) x = g by conjugate gradients, F only by its products; the line
    search then finds the length for which the measured KL and the measured surrogate are as they
    should be. What rounding could hide of the KL is kept free in the trust region (`rounding`). A
    refused step, NaN included, leaves every variable exactly as it was.

    The surrogate's importance weight is split: min(w̄, π_old/β), constant in θ, times π_θ/π_old, so
    that truncation costs no row its gradient.

    Source: Schulman et al. 2015 (TRPO), appendix C.

    Args:
        constraint: the trust region.
        cg_steps: iterations of conjugate gradients at the most; 10 as in the paper.
        damping: λ ≥ 0 added to F's diagonal; 0.1 as in every strong baseline.
        cg_tolerance: relative residual that ends conjugate gradients early.
        fisher_fraction: share of the rows, in (0, 1], on which F is taken, spread evenly; the
            gradient, the KL and the surrogate always use all.
        preconditioner: for conjugate gradients; None: none.
        line_search: how the length is found; `Backtracking()` is the classic way.
        importance_clip: w̄ for batches that bring no importance weights of their own.
        chunk_rows: rows at a time in every pass, to bound memory; None: all at once.
        execution: how `step` runs.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        constraint: KLConstraint,
        cg_steps: int = 10,
        damping: float = 0.1,
        cg_tolerance: float = 1e-10,
        fisher_fraction: float = 1.0,
        preconditioner: DiagonalPreconditioner | None = None,
        line_search: LineSearch | None = None,
        importance_clip: float = 10.0,
        chunk_rows: int | None = None,
        execution: Execution = Execution.XLA,
    ) -> None:
        if cg_steps < 1:
            raise ValueError(f"cg_steps must be >= 1, got {cg_steps}. 10 is typical.")
        if not 0 <= damping < np.inf:
            raise ValueError(f"damping must be >= 0 and finite, got {damping}. 0.1 is typical.")
        if not 0 < fisher_fraction <= 1:
            raise ValueError(
                f"fisher_fraction must lie in (0, 1], got {fisher_fraction}. 1 uses all rows."
            )
        if chunk_rows is not None and chunk_rows < 1:
            raise ValueError(f"chunk_rows must be >= 1 or None, got {chunk_rows}.")
        self.constraint = constraint
        self.cg_steps = cg_steps
        self.damping = damping
        self.cg_tolerance = cg_tolerance
        self.fisher_fraction = fisher_fraction
        self.preconditioner = preconditioner
        self.line_search = line_search or FillTrustRegion()
        self.importance_clip = importance_clip
        self.chunk_rows = chunk_rows
        self._compiled_step = execution.compile(self._step)

    def step(self, policy: keras.Model, batch: Batch, max_kl: Any = None) -> UpdateInfo:
        """Improves the policy on a batch from anywhere; compiled, assigns the policy's variables.

        When the batch brings no `importance_weights`, β is judged from `behaviour_log_probs`: the
        ratio π_old/β is computed and truncated, and the trust region shrinks with the distance
        that π_old has already travelled (`staleness`).

        Args:
            policy: a Keras model, observations ↦ `tfd.Distribution`.
            batch: N rows.
            max_kl: δ of this step; None: the constraint's, whose schedule, if it has one, follows
                the policy's version, which `TRPO.update` counts and this does not.

        Returns:
            An `UpdateInfo` of scalar tensors.

        Raises:
            TypeError, ValueError: for a policy whose output cannot be used.
        """
        dtype = policy.compute_dtype
        batch = batch._replace(
            observations=tf.nest.map_structure(tf.convert_to_tensor, batch.observations),
            actions=functional.as_inputs(batch.actions, dtype),
            **{
                name: None if value is None else tf.cast(value, dtype)
                for name, value in batch._asdict().items()
                if name not in ("observations", "actions")
            },
        )
        policy_version(policy)
        if not functional.is_built(policy):
            policy(tf.nest.map_structure(lambda rows: rows[:1], batch.observations))
        max_kl = None if max_kl is None else tf.cast(max_kl, dtype)
        return self._compiled_step(policy, batch, max_kl)

    def _step(self, policy: keras.Model, batch: Batch, max_kl: Any) -> UpdateInfo:
        if max_kl is None:
            # Here, because a schedule's dozen operations one by one cost a twentieth of an update.
            max_kl = self.constraint.max_kl_at(policy_version(policy))
            max_kl = tf.cast(max_kl, policy.compute_dtype)
        values, info = self.propose(policy, batch, max_kl)
        functional.assign(policy, values)
        return info

    def propose(
        self, policy: keras.Model, batch: Batch, max_kl: Any
    ) -> tuple[list[Any], UpdateInfo]:
        """The step without assigning it: new values of the trainable variables, and what they do.

        For use inside a larger compiled function. Arguments as in `step`, as tensors of the
        policy's dtype; when the step is refused the values are the old ones, bit for bit.
        """
        start = functional.parameters(policy)
        state = functional.state(policy)
        distribution_fn = lambda values, observations: functional.apply(  # noqa: E731
            policy, values, observations, state
        )
        passes = BatchPasses(distribution_fn, batch, self.chunk_rows)
        old = passes.old(start)
        importance, travelled, max_kl, sample_size = self._judge_behaviour(batch, old, max_kl)
        scale = passes.set_coefficients(batch.advantages * importance)
        gradient = passes.gradient(start)
        largest = tf.reduce_max(tf.abs(gradient))
        usable = tf.math.is_finite(largest) & (largest > 0) & tf.math.is_finite(scale)
        unit = tf.where(usable, tf.math.divide_no_nan(gradient, largest), 0)
        solved = self._solve(passes, start, unit)
        ascent = tf.tensordot(unit, solved.solution, 1)
        descends = usable & (solved.quadratic > 0) & (ascent > 0)
        descends &= tf.math.is_finite(tf.reduce_max(tf.abs(solved.solution)))
        direction = tf.where(descends, solved.solution, 0)
        first_step = tf.sqrt(tf.math.divide_no_nan(2 * max_kl, solved.quadratic))
        first_step = tf.where(descends, first_step, tf.ones_like(first_step))
        rounding = rounding_kl(passes.kl_of_few(start), start, max_kl)
        measurable = measurable_max_kl(max_kl, rounding)
        search = self.line_search(
            lambda step: passes.measure(start, direction, step, old), first_step, measurable
        )
        # A divergence of 0 may have been measured all the same.
        search = search._replace(
            accepted=search.accepted & (measurable > 0),
            met_constraint=search.met_constraint & (measurable > 0),
        )
        accepted = search.accepted & descends
        values = [
            tf.where(accepted, new, before)
            for new, before in zip(move(start, direction, search.step_size), start, strict=True)
        ]
        surrogate = scale * passes.mean(passes.rows.coefficients)
        info = UpdateInfo(
            surrogate_before=surrogate,
            surrogate_after=surrogate + tf.where(accepted, scale * search.improvement, 0),
            kl=tf.where(accepted, search.kl, 0),
            accepted=accepted,
            status=_status(scale, largest, descends, search),
            num_backtracks=search.num_refused,
            cg_residual_norm=solved.residual_norm,
            cg_iterations=solved.iterations,
            step_size=tf.where(accepted, search.step_size, 0),
            max_kl=max_kl,
            entropy=passes.mean(old.entropies * batch.weights),
            effective_sample_size=sample_size,
            behaviour_kl=travelled,
        )
        return values, info

    def _judge_behaviour(
        self, batch: Batch, old: OldPolicy, max_kl: Any
    ) -> tuple[Any, Any, Any, Any]:
        if batch.importance_weights is not None:
            size = staleness.effective_sample_size(batch.importance_weights, batch.weights)
            return batch.importance_weights, tf.zeros_like(max_kl), max_kl, size
        ratio = staleness.importance_ratio(old.log_probs, batch.behaviour_log_probs)
        travelled = staleness.behaviour_kl(old.log_probs, batch.behaviour_log_probs, batch.weights)
        return (
            tf.minimum(ratio, tf.constant(self.importance_clip, ratio.dtype)),
            travelled,
            staleness.effective_max_kl(max_kl, travelled),
            staleness.effective_sample_size(ratio, batch.weights),
        )

    def _solve(self, passes: BatchPasses, start: list[Any], rhs: Any) -> CGResult:
        fisher = passes.fisher(start, self.fisher_fraction)
        preconditioner = None
        if self.preconditioner is not None:
            preconditioner = self.preconditioner(fisher, rhs.shape[0], self.damping, rhs.dtype)
        return conjugate_gradient(
            lambda vector: fisher(vector) + self.damping * vector,
            rhs,
            self.cg_steps,
            self.cg_tolerance,
            preconditioner,
        )


def _status(scale: Any, largest: Any, descends: Any, search: SearchResult) -> Any:
    finite = tf.math.is_finite(scale) & tf.math.is_finite(largest)
    status = tf.where(
        search.met_constraint, StepStatus.NO_IMPROVEMENT.value, StepStatus.KL_TOO_LARGE.value
    )
    status = tf.where(search.accepted, StepStatus.ACCEPTED.value, status)
    status = tf.where(descends, status, StepStatus.NO_DESCENT.value)
    status = tf.where(largest > 0, status, StepStatus.ZERO_GRADIENT.value)
    return tf.where(finite, status, StepStatus.NON_FINITE_GRADIENT.value)
