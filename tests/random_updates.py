"""Random policy steps on random, also hostile, batches, and what must be true of every one.

Each combination compiles once; smaller batches are rows of weight 0, which may hold anything. What
a step did is judged apart in float64: by the same network with the same numbers, by divergences
written down in NumPy, and by forward-mode derivatives. `experiments/faults/updates.py` makes many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import zoo
from oracles import as_float64, kl_by_rows, weighted_mean

from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import Backtracking, FillTrustRegion, LineSearch
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.preconditioner import DiagonalPreconditioner
from trpo_tf.types import Batch, StepStatus, UpdateInfo

# What an accepted step may exceed δ by.
KL_SLACK = 1e-3
_POOL = 512
_NEVER = 1e-30


class Combination(NamedTuple):
    """What is compiled once."""

    kind: str
    hidden_sizes: Sequence[int]
    num_rows: int
    activation: str = "tanh"
    dtype: str = "float32"
    damping: float = 0.1
    cg_steps: int = 10
    line_search: LineSearch = FillTrustRegion()
    fisher_fraction: float = 1.0
    chunk_rows: int | None = None
    probes: int = 0
    given_importance: bool = False
    execution: Execution = Execution.XLA

    @property
    def name(self) -> str:
        """One word, different for every combination."""
        sizes = "x".join(map(str, self.hidden_sizes)) or "linear"
        defaults = Combination("", (), 0)._asdict()
        parts = [self.kind, sizes, str(self.num_rows)]
        for field, value in self._asdict().items():
            if field in ("kind", "hidden_sizes", "num_rows") or value == defaults[field]:
                continue
            shown = getattr(value, "value", value)
            parts.append("backtracking" if field == "line_search" else f"{field}={shown}")
        return "-".join(parts)


_CLASSIC = Backtracking()
COMBINATIONS = [
    Combination("gaussian", (64, 64), 4096),
    Combination("gaussian", (64, 64), 2048, activation="relu"),
    Combination("gaussian", (64, 64), 128),
    Combination("gaussian", (32,), 1024, activation="elu", damping=1e-3),
    Combination("gaussian", (16, 16), 512, activation="gelu", probes=3),
    Combination("gaussian", (16,), 300, activation="silu", line_search=_CLASSIC),
    Combination("gaussian", (), 3, damping=1e-3),
    Combination("gaussian", (8,), 1),
    Combination("gaussian", (8,), 64, damping=0.0, cg_steps=25),
    Combination("gaussian", (8,), 64, dtype="float64", damping=1e-4),
    Combination("gaussian", (16,), 256, given_importance=True),
    Combination("gaussian", (8,), 200, chunk_rows=64, execution=Execution.GRAPH),
    Combination("state_dependent_gaussian", (64, 64), 2048),
    Combination("state_dependent_gaussian", (8,), 40, fisher_fraction=0.2),
    Combination("state_dependent_gaussian", (16,), 256, activation="relu", damping=1e-4),
    Combination("state_dependent_gaussian", (8,), 100, damping=0.0, cg_steps=20),
    Combination("categorical", (64, 64), 4096, activation="relu"),
    Combination("categorical", (16,), 64, damping=1e-3),
    Combination("categorical", (16, 16), 500, line_search=_CLASSIC),
    Combination("categorical", (8,), 2, damping=0.0),
    Combination("categorical", (16,), 256, given_importance=True, fisher_fraction=0.5),
    Combination("categorical", (8,), 100, dtype="float64"),
    Combination("multi_discrete", (64,), 1024, activation="elu"),
    Combination("multi_discrete", (8, 8), 33, chunk_rows=8),
    Combination("multi_discrete", (8,), 128, damping=1e-5),
    Combination("multi_binary", (64, 64), 2048),
    Combination("multi_binary", (8,), 1),
    Combination("multi_binary", (8,), 100, probes=2, damping=1e-3),
    Combination("dict_observations", (16,), 50, line_search=_CLASSIC),
    Combination("dict_observations", (32, 32), 512, activation="silu"),
    Combination("tuple_observations", (16,), 128),
    Combination("image", (), 16, execution=Execution.GRAPH),
    Combination("full_gaussian", (8,), 40, damping=0.01),
    Combination("full_gaussian", (16,), 256, activation="gelu", execution=Execution.GRAPH),
    Combination("beta", (8,), 40, dtype="float64", execution=Execution.GRAPH),
    Combination("beta", (32,), 512),
    Combination("diagonal_gaussian", (8,), 25, damping=0.0),
    Combination("one_scale_gaussian", (16,), 200),
    Combination("fixed_scale_gaussian", (16,), 100, activation="relu"),
    Combination("masked_categorical", (8,), 30, execution=Execution.GRAPH),
    Combination("gaussian", (8,), 20, execution=Execution.EAGER),
]


class Verdict(NamedTuple):
    """What one step did; the fields after `kl_share` are violations.

    Attributes:
        status: as reported.
        kl_share: the mean KL in float64 as a share of δ; 0 for a refused step.
        kl_violated: it was more than 1 + `KL_SLACK`, or the report of it was wrong.
        moved_when_refused: a bit of a variable changed although the step was refused.
        non_finite: a variable is NaN or infinite.
        surrogate_worse: the surrogate fell by more than float32 can see.
        not_ascending: a step was taken along which the surrogate falls: conjugate gradients failed
            and nobody said so.
        wrong_status: accepted what had to be refused, or a status that contradicts `accepted`.
    """

    status: StepStatus
    kl_share: float
    kl_violated: bool
    moved_when_refused: bool
    non_finite: bool
    surrogate_worse: bool
    not_ascending: bool
    wrong_status: bool


VIOLATIONS = Verdict._fields[2:]


class RandomUpdates:
    """One compiled combination and its random updates, the same for the same seed.

    Holds the variables of a policy, of its float64 twin and of nothing else.
    """

    def __init__(self, combination: Combination, seed: int) -> None:
        self.combination = combination
        kind, sizes, activation = combination.kind, combination.hidden_sizes, combination.activation
        self.policy = zoo.make(kind, sizes, combination.dtype, activation=activation)
        self.twin = zoo.make(kind, sizes, "float64", activation=activation)
        self.optimizer = NaturalGradientOptimizer(
            KLConstraint(),
            cg_steps=combination.cg_steps,
            damping=combination.damping,
            line_search=combination.line_search,
            fisher_fraction=combination.fisher_fraction,
            preconditioner=DiagonalPreconditioner(combination.probes)
            if combination.probes
            else None,
            chunk_rows=combination.chunk_rows,
            execution=combination.execution,
        )
        self._start = self.policy.get_weights()
        self._pool = zoo.draw_observations(kind, _POOL, seed, combination.dtype)
        self._seed = seed

    def update(self, number: int) -> Verdict:
        """Makes the update of a number, which alone decides what it is."""
        rng = np.random.default_rng([self._seed, number])
        self.policy.set_weights(self._start)
        observations = self._draw_observations(rng)
        self._randomize(rng, observations)
        batch, must_be_refused = self._draw_batch(rng, observations)
        max_kl = float(np.float32(10 ** rng.uniform(-3, -1)))
        before = self.policy.get_weights()
        info = self.optimizer.step(self.policy, batch, max_kl=max_kl)
        info = tf.nest.map_structure(lambda scalar: np.asarray(scalar).item(), info)
        return self._judge(batch, before, info, max_kl, must_be_refused)

    def _draw_observations(self, rng: np.random.Generator) -> Any:
        num_rows = self.combination.num_rows
        few = _chance(rng, 0.15)
        rows = rng.integers(1 + rng.integers(4) if few else _POOL, size=num_rows)
        scale = 10 ** rng.uniform(-3, 3) if _chance(rng, 0.3) else 1.0

        def take(part: np.ndarray) -> np.ndarray:
            taken = part[rows]
            return (taken * scale).astype(part.dtype) if part.dtype.kind == "f" else taken

        return tf.nest.map_structure(take, self._pool)

    def _randomize(self, rng: np.random.Generator, observations: Any) -> None:
        """Networks from nearly linear to saturated, scales from narrow to collapsed."""
        collapsed = _chance(rng, 0.2)
        for variable in self.policy.trainable_variables:
            values = rng.normal(size=variable.shape) * 10 ** rng.uniform(-1, 0.5)
            if len(variable.shape) > 1:
                values /= np.sqrt(np.prod(variable.shape[:-1]))
            values = np.clip(values, -4, 2)
            if collapsed and _decides_the_spread(variable):
                values -= rng.uniform(0, 8)
            variable.assign(values.astype(self.combination.dtype))
        if _chance(rng, 0.3) and hasattr(self.policy, "update_statistics"):
            self.policy.update_statistics(observations, np.ones(self.combination.num_rows))

    def _draw_batch(self, rng: np.random.Generator, observations: Any) -> tuple[Batch, bool]:
        """A batch, and whether no step may be taken on it."""
        num_rows = self.combination.num_rows
        weights = _random_weights(rng, num_rows)
        if self.combination.execution is Execution.EAGER:
            num_rows = max(1, int(np.sum(weights > 0)))
            weights = np.ones(num_rows)
            observations = tf.nest.map_structure(lambda part: part[:num_rows], observations)
        advantages = _random_advantages(rng, num_rows)
        batch = zoo.draw_batch(self.policy, observations, int(rng.integers(2**31)), advantages)
        if self.combination.kind == "beta":
            batch = batch._replace(actions=np.clip(batch.actions, 1e-6, 1 - 1e-6))
        if _chance(rng, 0.5):
            lag = rng.normal(scale=10 ** rng.uniform(-3, 0.7), size=num_rows)
            batch = batch._replace(behaviour_log_probs=batch.behaviour_log_probs - lag)
        batch = batch._replace(weights=weights)
        if self.combination.given_importance:
            importance = np.exp(np.minimum(rng.normal(scale=0.5, size=num_rows), np.log(10)))
            batch = batch._replace(importance_weights=importance)
        dtype = self.combination.dtype
        batch = batch._replace(
            **{
                name: np.array(value, dtype)
                for name, value in batch._asdict().items()
                if name not in ("observations", "actions") and value is not None
            },
            observations=tf.nest.map_structure(np.array, batch.observations),
            actions=np.array(batch.actions),
        )
        return self._spoil(rng, batch)

    def _spoil(self, rng: np.random.Generator, batch: Batch) -> tuple[Batch, bool]:
        """Rows without weight hold NaN in half of the cases; a row that counts in a tenth."""
        parts = _float_parts(batch)
        counts = batch.weights > 0
        if _chance(rng, 0.5):
            for part in parts.values():
                part[~counts] = np.nan
        if not counts.any() or not _chance(rng, 0.1):
            return batch, False
        if self.combination.given_importance:
            del parts["behaviour_log_probs"]
        name = sorted(parts)[rng.integers(len(parts))]
        value = rng.choice([np.nan, np.inf, -np.inf])
        parts[name][rng.choice(np.flatnonzero(counts))] = value
        # Infinite observations may be clipped, and π_old/β = e^-∞ is a weight of 0.
        may_pass = not np.isnan(value) and name not in ("advantages", "actions")
        return batch, not may_pass

    def _judge(
        self,
        batch: Batch,
        before: list[np.ndarray],
        info: UpdateInfo,
        max_kl: float,
        must_be_refused: bool,
    ) -> Verdict:
        after = self.policy.get_weights()
        status = StepStatus(info.status)
        accepted = status is StepStatus.ACCEPTED
        wrong = accepted != info.accepted or (accepted and must_be_refused)
        non_finite = not all(np.all(np.isfinite(new)) for new in after)
        if not accepted:
            moved = any(o.tobytes() != n.tobytes() for o, n in zip(before, after, strict=True))
            wrong |= not info.kl == info.step_size == 0
            return Verdict(status, 0.0, False, moved, non_finite, False, False, wrong)
        divergence, hidden, gain, slope, seen = self._measure(batch, before, after)
        reported = abs(info.kl - divergence) <= 0.02 * divergence + 2e-6 + hidden
        kept = divergence <= max_kl * (1 + KL_SLACK)
        kept &= divergence <= info.max_kl * (1 + KL_SLACK) + 2e-6
        return Verdict(
            status,
            divergence / max_kl,
            not (kept and reported),
            False,
            non_finite,
            not gain > -seen,
            not slope > -seen,
            wrong,
        )

    def _measure(
        self, batch: Batch, before: list[np.ndarray], after: list[np.ndarray]
    ) -> tuple[float, ...]:
        """KL, what rounding hides of it; surrogate's gain and slope, what rounding hides of them.

        Rounding is judged by what the policy itself gives beside its twin, and doubled, since
        other compiled forms of the same policy round otherwise.
        """
        rows = np.flatnonzero(batch.weights > 0)
        observations = tf.nest.map_structure(lambda part: part[rows], batch.observations)
        actions = batch.actions[rows]
        weights = as_float64(batch.weights[rows])
        self.policy.set_weights(before)
        rounded_old = _frozen(self.policy(_as(observations, None)))
        low_before = as_float64(_log_probs(rounded_old, actions))
        self.policy.set_weights(after)
        rounded_new = _frozen(self.policy(_as(observations, None)))
        low_after = as_float64(_log_probs(rounded_new, actions))

        inputs = _as(observations, "float64")
        self.twin.set_weights([as_float64(value) for value in before])
        variables = [variable.value for variable in self.twin.trainable_variables]
        starts = [variable.numpy() for variable in variables]
        self.twin.set_weights([as_float64(value) for value in after])
        ends = [variable.numpy() for variable in variables]
        new = _frozen(self.twin(inputs))
        new_log_probs = as_float64(_log_probs(new, actions))
        self.twin.set_weights([as_float64(value) for value in before])
        moves = [tf.constant(end - start) for start, end in zip(starts, ends, strict=True)]
        with tf.autodiff.ForwardAccumulator(variables, moves) as tangent:
            old = self.twin(inputs)
            log_probs = _log_probs(old, actions)
        slopes = as_float64(tangent.jvp(log_probs, tf.UnconnectedGradients.ZERO))
        log_probs = as_float64(log_probs)

        importance = batch.importance_weights
        if importance is None:
            behaviour = as_float64(batch.behaviour_log_probs[rows])
            importance = np.minimum(np.exp(np.minimum(low_before - behaviour, 3)), 10)
        else:
            importance = as_float64(importance[rows])
        coefficients = importance * as_float64(batch.advantages[rows])
        errors = np.abs(low_before - log_probs) + np.abs(low_after - new_log_probs)
        seen = 2 * weighted_mean(np.abs(coefficients) * errors, weights)
        seen += 1e-6 * weighted_mean(np.abs(coefficients), weights) + _NEVER
        divergence = weighted_mean(kl_by_rows(old, new), weights)
        noises = [
            max(0.0, weighted_mean(kl_by_rows(exact, rounded), weights))
            for exact, rounded in ((old, rounded_old), (new, rounded_new))
        ]
        distance = np.sqrt(max(0.0, divergence))
        hidden = (distance + 2 * sum(map(np.sqrt, noises))) ** 2 - distance**2
        return (
            divergence,
            hidden,
            weighted_mean(np.expm1(new_log_probs - log_probs) * coefficients, weights),
            weighted_mean(slopes * coefficients, weights),
            seen,
        )


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _decides_the_spread(variable: keras.Variable) -> bool:
    """Log deviations; of other distributions nothing."""
    name = variable.path.split("/")
    return name[-1] == "log_std" or name[-2:] == ["log_std", "bias"] or name[-1] == "extras"


def _random_advantages(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    scale = 10 ** rng.uniform(-20, 20)
    shape = rng.integers(5)
    if shape == 0:
        return np.full(num_rows, rng.choice([-1, 1]) * scale)
    if shape == 1:
        return scale * np.clip(rng.standard_cauchy(size=num_rows), -1e6, 1e6)
    if shape == 2:
        return scale * (rng.normal(size=num_rows) + 100)
    if shape == 3:
        return np.zeros(num_rows)
    return scale * rng.normal(size=num_rows)


def _random_weights(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    shape = rng.integers(5)
    if shape == 0:
        return np.ones(num_rows)
    if shape == 1:
        return (np.arange(num_rows) == rng.integers(num_rows)).astype(float)
    if shape == 2:
        return rng.uniform(0.1, 2, size=num_rows)
    if shape == 3:
        return (np.arange(num_rows) < rng.integers(num_rows + 1)).astype(float)
    return (rng.random(num_rows) < rng.random()).astype(float)


def _float_parts(batch: Batch) -> dict[str, np.ndarray]:
    parts = {f"observations{i}": part for i, part in enumerate(tf.nest.flatten(batch.observations))}
    parts |= {
        name: value
        for name, value in batch._asdict().items()
        if name not in ("observations", "weights") and value is not None
    }
    return {name: part for name, part in parts.items() if part.dtype.kind == "f"}


def _as(observations: Any, dtype: str | None) -> Any:
    return tf.nest.map_structure(
        lambda part: (
            tf.cast(part, dtype) if dtype and part.dtype.kind == "f" else tf.constant(part)
        ),
        observations,
    )


def _frozen(distribution: Any) -> Any:
    """The same distribution after its model has taken other numbers."""
    return tf.nest.map_structure(tf.identity, distribution, expand_composites=True)


def _log_probs(distribution: Any, actions: np.ndarray) -> Any:
    return distribution.log_prob(tf.cast(actions, distribution.dtype))
