"""The update as a composition of its parts, on and off policy, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from long_forms import long, only
from oracles import random_episodes

from trpo_tf.advantage import Advantage
from trpo_tf.checkpoint import latest_checkpoint, restore_checkpoint, save_checkpoint
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import policy_version
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.trpo import _SEED_STRIDE, TRPO
from trpo_tf.types import (
    FULL_CORRECTION,
    NO_CORRECTION,
    Batch,
    Correction,
    Rollout,
    StepStatus,
    UpdateInfo,
)
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
NUM_STEPS, NUM_ENVS = 12, 3
NUM_ROWS = NUM_STEPS * NUM_ENVS
MAX_KL = 0.01
RUNNING_RETURN = "return_scaling/3"


@dataclasses.dataclass
class Parts:
    """Everything that an update works with."""

    policy: keras.Model
    value_function: keras.Model
    advantage: Advantage
    optimizer: NaturalGradientOptimizer
    value_regression: ValueRegression

    def trpo(self, execution: Execution = Execution.GRAPH, **settings: Any) -> TRPO:
        return TRPO(
            self.policy,
            self.value_function,
            self.advantage,
            self.optimizer,
            self.value_regression,
            execution=execution,
            **settings,
        )

    def variables(self) -> dict[str, np.ndarray]:
        scaling = self.advantage.return_scaling
        groups = {
            "policy": self.policy.variables,
            "value_function": self.value_function.variables,
            "value_optimizer": self.value_regression.optimizer.variables,
            "return_scaling": [scaling.count, scaling.mean, scaling.variance] if scaling else [],
        }
        if scaling:
            groups["return_scaling"].append(scaling.discounted_return)
        return {
            f"{name}/{index}": tf.convert_to_tensor(variable).numpy()
            for name, group in groups.items()
            for index, variable in enumerate(group)
        }


def make_parts(kind: str = "gaussian", dtype: str = "float32", scaled: bool = True) -> Parts:
    space = zoo.KINDS[kind].observation_space
    scaling = ReturnScaling(0.99, NUM_ENVS, dtype) if scaled else None
    return Parts(
        zoo.make(kind, (4,), dtype),
        make_value_function(space, hidden_sizes=(4,), dtype=dtype, seed=5),
        Advantage(0.99, 0.95, return_scaling=scaling),
        NaturalGradientOptimizer(KLConstraint(MAX_KL), cg_steps=5, execution=Execution.GRAPH),
        ValueRegression(epochs=2, minibatch_size=8, execution=Execution.GRAPH),
    )


def make_rollout(
    policy: keras.Model, seed: int, kind: str = "gaussian", behaviour: keras.Model | None = None
) -> Rollout:
    """Rows drawn from the policy, or from another one as an older version of it."""
    rng = np.random.default_rng(seed)
    dtype = policy.compute_dtype
    episodes = random_episodes(rng, NUM_STEPS, NUM_ENVS, end_probability=0.2)
    flat = zoo.draw_observations(kind, NUM_ROWS + NUM_ENVS, seed, dtype)
    drawn_by = policy if behaviour is None else behaviour
    rows = tf.nest.map_structure(lambda part: tf.constant(part[:NUM_ROWS]), flat)
    distribution = drawn_by(rows)
    actions = distribution.sample(seed=(seed, 1))
    shape = (NUM_STEPS, NUM_ENVS)
    return Rollout(
        observations=tf.nest.map_structure(
            lambda part: part.reshape(NUM_STEPS + 1, NUM_ENVS, *part.shape[1:]), flat
        ),
        actions=actions.numpy().reshape(*shape, *actions.shape[1:]),
        behaviour_log_probs=distribution.log_prob(actions).numpy().reshape(shape),
        rewards=(5 * episodes.rewards).astype(dtype),
        terminated=episodes.terminated,
        truncated=episodes.truncated,
        mask=episodes.mask,
        policy_version=np.full(shape, int(policy_version(policy)), np.int64),
    )


def assert_bits_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


def flat(array: Any) -> Any:
    return tf.nest.map_structure(lambda part: part.reshape(-1, *part.shape[2:]), array)


def compose(
    parts: Parts,
    rollout: Rollout,
    importance: Any = None,
    max_kl: float = MAX_KL,
    correction: Correction = FULL_CORRECTION,
) -> Any:
    """An update written out with the public parts, in the order of the design."""
    without_last = tf.nest.map_structure(lambda part: part[:-1], rollout.observations)
    values = np.reshape(parts.value_function(flat(rollout.observations)), (NUM_STEPS + 1, NUM_ENVS))
    behaviour = rollout.behaviour_log_probs
    target = behaviour if importance is None else importance
    weights = np.minimum(np.exp(target - behaviour), 10)
    estimate = parts.advantage(
        rollout,
        values,
        target if correction.traces else behaviour,
        weights if correction.centring else np.ones_like(weights),
    )
    if not correction.weights:
        weights = np.ones_like(weights)
    batch = Batch(
        flat(without_last),
        flat(rollout.actions),
        estimate.advantages.numpy().ravel(),
        rollout.behaviour_log_probs.ravel(),
        rollout.mask.ravel().astype(values.dtype),
        weights.ravel(),
    )
    info = parts.optimizer.step(parts.policy, batch, max_kl=max_kl)
    scaling = parts.advantage.return_scaling
    if scaling:
        scaling.update(rollout)
        parts.value_function.set_output_scale(scaling.scale)
    parts.value_regression.fit(
        parts.value_function,
        batch.observations,
        estimate.value_targets.numpy().ravel(),
        batch.weights,
        scale=scaling.scale if scaling else 1.0,
        seed=0,
    )
    for model in (parts.policy, parts.value_function):
        if hasattr(model, "update_statistics"):
            model.update_statistics(batch.observations, batch.weights)
    return info, estimate, values


# --- on policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("execution", "scaled"),
    [*((execution, True) for execution in Execution), (Execution.GRAPH, False)],
)
def test_an_update_is_the_composition_of_its_parts(execution: Execution, scaled: bool) -> None:
    together, apart = (make_parts(dtype="float64", scaled=scaled) for _ in range(2))
    rollout = make_rollout(together.policy, seed=1)
    info = together.trpo(execution).update(rollout)
    expected, estimate, values = compose(apart, rollout)
    assert info.accepted
    for name, value in apart.variables().items():
        got = together.variables()[name]
        np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-9, err_msg=name)
    for field in ("surrogate_before", "surrogate_after", "kl", "entropy", "cg_residual_norm"):
        close = np.testing.assert_allclose
        close(getattr(info, field), getattr(expected, field), rtol=1e-6, atol=1e-9, err_msg=field)
    targets = estimate.value_targets.numpy()[rollout.mask]
    errors = targets - values[:-1][rollout.mask]
    np.testing.assert_allclose(info.explained_variance, 1 - errors.var() / targets.var(), rtol=1e-9)


@pytest.mark.parametrize(
    "kind",
    [
        "clipped_gaussian",
        "categorical",
        "multi_discrete",
        "dict_observations",
        "full_gaussian",
        "image",
    ],
)
def test_other_policies(kind: str) -> None:
    parts = make_parts(kind)
    trpo = parts.trpo()
    info = trpo.update(make_rollout(parts.policy, 2, kind))
    assert info.accepted
    assert 0.9 * MAX_KL <= info.kl <= MAX_KL
    assert StepStatus(info.status) is StepStatus.ACCEPTED


def test_what_it_reports() -> None:
    parts = make_parts()
    trpo = parts.trpo()
    for update in range(2):
        rollout = make_rollout(parts.policy, seed=update)
        info = trpo.update(rollout)
        assert isinstance(info, UpdateInfo)
        assert isinstance(info.status, StepStatus)
        numbers = info._replace(status=np.int32(info.status))
        assert all(isinstance(value, np.generic) and np.ndim(value) == 0 for value in numbers)
        assert all(np.isfinite(value) for value in info)
        assert (info.policy_lag, info.behaviour_kl, info.dropped_rows) == (0, 0, 0)
        assert info.effective_sample_size == 1
        assert info.max_kl == np.float32(MAX_KL)
        assert int(trpo.policy_version) == int(parts.policy.policy_version) == update + 1


@pytest.mark.parametrize(
    ("execution", "num_updates"),
    [(Execution.GRAPH, 3), (Execution.EAGER, 1), *long([(Execution.XLA, 3)])],
)
def test_on_policy_the_correction_changes_no_bit(execution: Execution, num_updates: int) -> None:
    """With β = π_old the corrected path is the plain update; and the same run has the same bits."""
    ends = []
    for correction in (FULL_CORRECTION, NO_CORRECTION, FULL_CORRECTION):
        parts = make_parts()
        trpo = parts.trpo(execution, correction=correction)
        infos = [trpo.update(make_rollout(parts.policy, seed)) for seed in range(num_updates)]
        assert all(info.accepted for info in infos)
        ends.append((parts.variables(), infos))
        if execution is not Execution.EAGER:
            assert trpo._compiled_update.experimental_get_tracing_count() == 1
    for variables, infos in ends[1:]:
        assert_bits_equal(ends[0][0], variables)
        assert infos == ends[0][1]


def test_the_graph_of_an_update_stays_small() -> None:
    """Its first call traces and compiles it, in a time that grows with the number of operations."""
    parts = make_parts()
    trpo = parts.trpo(Execution.GRAPH)
    trpo.update(make_rollout(parts.policy, seed=0))
    (update,) = trpo._compiled_update._list_all_concrete_functions()
    graph = update.graph.as_graph_def()
    nodes = len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    assert 0 < nodes < 4000


def test_masked_rows_do_not_count() -> None:
    ends = []
    for poison in (False, True):
        parts = make_parts()
        rollout = make_rollout(parts.policy, seed=3)
        dummy = ~rollout.mask
        assert dummy.any()
        if poison:
            rollout = rollout._replace(
                rewards=np.where(dummy, np.nan, rollout.rewards),
                behaviour_log_probs=np.where(dummy, np.inf, rollout.behaviour_log_probs),
                actions=np.where(dummy[..., None], np.nan, rollout.actions),
                policy_version=np.where(dummy, -5, rollout.policy_version),
            )
        info = parts.trpo().update(rollout)
        assert info.accepted
        ends.append(parts.variables())
    for name, value in ends[0].items():
        np.testing.assert_allclose(ends[1][name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_statistics_change_after_the_step() -> None:
    """π_old is the policy that acted: one normaliser from collection to the end of the step."""
    parts = make_parts(dtype="float64")
    rollout = make_rollout(parts.policy, seed=1)
    inputs = tf.constant(flat(rollout.observations[:-1])[rollout.mask.ravel()])
    old = parts.policy(inputs)
    before = parts.policy.get_weights()
    info = parts.trpo().update(rollout)
    trained = [v.numpy() for v in parts.policy.trainable_variables]
    mean = parts.policy.torso.normalizer.mean.numpy()
    np.testing.assert_allclose(mean, inputs.numpy().mean(axis=0), rtol=1e-9)
    parts.policy.set_weights(before)
    for variable, value in zip(parts.policy.trainable_variables, trained, strict=True):
        variable.assign(value)
    divergence = np.mean(old.kl_divergence(parts.policy(inputs)))
    np.testing.assert_allclose(info.kl, divergence, rtol=1e-9)


def test_max_kl_schedule() -> None:
    parts = make_parts()
    schedule = keras.optimizers.schedules.PolynomialDecay(0.02, 2, 0.01)
    parts.optimizer = NaturalGradientOptimizer(KLConstraint(schedule))
    trpo = parts.trpo()
    limits = [float(trpo.update(make_rollout(parts.policy, seed=s)).max_kl) for s in range(3)]
    np.testing.assert_allclose(limits, [0.02, 0.015, 0.01], rtol=1e-5)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 0.25)])
def test_the_trust_region_shrinks_where_advantages_are_next_to_nothing(
    share: float, expected: float
) -> None:
    """`share` is the bound over the deviation that the advantages have, in units of the return."""
    unit = 512.0
    composed, parts = make_parts(dtype="float64"), make_parts(dtype="float64")
    for each in (composed, parts):
        scaling = each.advantage.return_scaling
        assert scaling is not None
        scaling.count.assign(100)
        scaling.variance.assign(unit**2)
    rollout = make_rollout(parts.policy, seed=0)
    _, estimate, values = compose(composed, rollout)
    errors = (estimate.value_targets.numpy() - values[:-1])[rollout.mask] / unit
    trpo = parts.trpo(Execution.EAGER, min_advantage=share * errors.std())
    info = trpo.update(rollout)
    assert info.accepted
    np.testing.assert_allclose(info.max_kl, expected * MAX_KL, rtol=1e-6)
    assert 0.9 * info.max_kl < info.kl <= info.max_kl


def test_in_the_first_update_there_is_no_unit_to_compare_with() -> None:
    parts = make_parts()
    info = parts.trpo(min_advantage=1e3).update(make_rollout(parts.policy, seed=0))
    np.testing.assert_allclose(info.max_kl, MAX_KL, rtol=1e-6)


def test_lambda_schedule() -> None:
    scheduled, constant = (make_parts(dtype="float64") for _ in range(2))
    scheduled.advantage.gae_lambda = keras.optimizers.schedules.PolynomialDecay(0.9, 2, 0.1)
    learners = [parts.trpo(Execution.EAGER) for parts in (scheduled, constant)]
    for number, gae_lambda in enumerate((0.9, 0.5, 0.1)):
        constant.advantage.gae_lambda = gae_lambda
        rollout = make_rollout(constant.policy, seed=number)
        assert all(learner.update(rollout).accepted for learner in learners)
    for name, value in constant.variables().items():
        # Keras computes schedules in float32.
        np.testing.assert_allclose(scheduled.variables()[name], value, rtol=1e-4, atol=1e-6)


# --- off policy ---------------------------------------------------------------------------------


def stale(parts: Parts, seed: int = 1) -> tuple[Rollout, np.ndarray]:
    """Half of the steps come from an older policy, one version back; and log π_old of all rows."""
    current = make_rollout(parts.policy, seed)
    older = zoo.make("gaussian", (4,), parts.policy.compute_dtype)
    for variable in older.trainable_variables:
        variable.assign_add(0.05 * tf.ones_like(variable))
    old = make_rollout(parts.policy, seed, behaviour=older)
    is_stale = np.arange(NUM_STEPS)[:, None] < NUM_STEPS // 2
    rollout = current._replace(
        actions=np.where(is_stale[..., None], old.actions, current.actions),
        behaviour_log_probs=np.where(
            is_stale, old.behaviour_log_probs, current.behaviour_log_probs
        ),
        policy_version=current.policy_version - is_stale.astype(np.int64),
    )
    log_probs = parts.policy(flat(rollout.observations[:-1])).log_prob(flat(rollout.actions))
    return rollout, np.reshape(log_probs, (NUM_STEPS, NUM_ENVS))


def as_version(parts: Parts, version: int) -> Parts:
    policy_version(parts.policy).assign(version)
    return parts


@ALL_WAYS
@pytest.mark.parametrize("kind", ["gaussian", "clipped_gaussian"])
def test_stale_rows_are_corrected(execution: Execution, kind: str) -> None:
    together, apart = (as_version(make_parts(kind, dtype="float64"), 4) for _ in range(2))
    rollout, log_probs = stale(together)
    info = together.trpo(execution, seed=-4 * _SEED_STRIDE).update(rollout)
    difference = (log_probs - rollout.behaviour_log_probs)[rollout.mask]
    ratio = np.exp(difference)
    travelled = np.mean(np.expm1(difference) - difference)
    assert travelled > 1e-3
    left = MAX_KL - (np.sqrt(travelled * (MAX_KL + travelled / 4)) - travelled / 2)
    np.testing.assert_allclose(info.behaviour_kl, travelled, rtol=1e-9)
    np.testing.assert_allclose(info.max_kl, left, rtol=1e-6)
    np.testing.assert_allclose(
        info.effective_sample_size, ratio.sum() ** 2 / len(ratio) / np.sum(ratio**2), rtol=1e-9
    )
    lag = np.mean((4 - rollout.policy_version)[rollout.mask])
    np.testing.assert_allclose(info.policy_lag, lag, rtol=1e-9)
    assert 0 < lag < 1
    compose(apart, rollout, importance=log_probs, max_kl=left)
    for name, value in apart.variables().items():
        got = together.variables()[name]
        np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("part", Correction._fields)
def test_each_part_of_the_correction_can_be_switched_off(part: str) -> None:
    together, apart, whole = (as_version(make_parts(dtype="float64"), 4) for _ in range(3))
    rollout, log_probs = stale(together)
    correction = Correction(**{part: False})
    trpo = together.trpo(correction=correction, seed=-4 * _SEED_STRIDE)
    max_kl = float(trpo.update(rollout).max_kl)
    assert (max_kl == np.float32(MAX_KL)) == (part == "trust_region")
    compose(apart, rollout, importance=log_probs, max_kl=max_kl, correction=correction)
    compose(whole, rollout, importance=log_probs, max_kl=max_kl)
    differs = False
    for name, value in apart.variables().items():
        got = together.variables()[name]
        np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-7, err_msg=name)
        differs |= not np.allclose(got, whole.variables()[name], rtol=1e-4, atol=1e-5)
    assert differs == (part != "trust_region")


def test_without_correction_stale_rows_are_still_measured() -> None:
    corrected, plain, fresh = (as_version(make_parts(dtype="float64"), 4) for _ in range(3))
    rollout, _ = stale(corrected)
    measured = corrected.trpo().update(rollout)
    info = plain.trpo(correction=NO_CORRECTION).update(rollout)
    for field in ("policy_lag", "effective_sample_size", "behaviour_kl"):
        assert getattr(info, field) == getattr(measured, field)
    np.testing.assert_allclose(info.max_kl, MAX_KL)
    # To the plain update the rows are as if they were fresh.
    fresh.trpo().update(rollout._replace(policy_version=np.full_like(rollout.policy_version, 4)))
    assert_bits_equal(fresh.variables(), plain.variables())


def test_rows_that_are_too_old_are_dropped_and_counted() -> None:
    dropping, masked = (as_version(make_parts(dtype="float64"), 4) for _ in range(2))
    rollout, _ = stale(dropping)
    too_old = rollout.policy_version < 4
    info = dropping.trpo(max_lag=0).update(rollout)
    assert info.dropped_rows == np.sum(too_old & rollout.mask) > 0
    assert (info.policy_lag, info.behaviour_kl, info.effective_sample_size) == (0, 0, 1)
    expected = masked.trpo().update(rollout._replace(mask=rollout.mask & ~too_old))
    for field in ("kl", "surrogate_after", "explained_variance", "entropy"):
        np.testing.assert_allclose(getattr(info, field), getattr(expected, field), rtol=1e-9)
    for before, after in zip(
        masked.policy.trainable_variables, dropping.policy.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=1e-9)
    kept = as_version(make_parts(dtype="float64"), 4).trpo(max_lag=1).update(rollout)
    assert kept.dropped_rows == 0


def test_nothing_left_is_no_step() -> None:
    parts = as_version(make_parts(), 9)
    trpo = parts.trpo(max_lag=3)
    # So that the critic's optimizer has momentum.
    assert trpo.update(make_rollout(parts.policy, seed=0)).accepted
    rollout = make_rollout(parts.policy, seed=1)
    rollout = rollout._replace(policy_version=np.zeros_like(rollout.policy_version))
    weights = [*parts.policy.trainable_variables, *parts.value_function.torso.trainable_variables]
    weights += parts.value_regression.optimizer.variables
    before = [tf.convert_to_tensor(variable).numpy() for variable in weights]
    info = trpo.update(rollout)
    assert not info.accepted
    assert info.dropped_rows == rollout.mask.sum()
    for old, variable in zip(before, weights, strict=True):
        np.testing.assert_array_equal(old, variable)


# --- refusals -----------------------------------------------------------------------------------


def poison(rollout: Rollout, field: str, value: float) -> Rollout:
    array = getattr(rollout, field).copy()
    step, env = np.argwhere(rollout.mask)[5]
    array[step, env] = value
    return rollout._replace(**{field: array})


@ALL_WAYS
def test_a_rollout_that_is_not_finite_changes_no_variable(execution: Execution) -> None:
    parts = make_parts()
    trpo = parts.trpo(execution)
    assert trpo.update(make_rollout(parts.policy, seed=0)).accepted
    before, version = parts.variables(), int(trpo.policy_version)
    running = before[RUNNING_RETURN]
    cases = [
        (field, value)
        for field in ("rewards", "observations", "behaviour_log_probs")
        for value in (
            (np.nan,) if execution is Execution.EAGER else (np.nan, np.inf, -np.inf, 1e25)
        )
    ]
    for count, (field, value) in enumerate(cases, start=1):
        rollout = poison(make_rollout(parts.policy, seed=count), field, value)
        info = trpo.update(rollout)
        assert StepStatus(info.status) is StepStatus.NON_FINITE_ROLLOUT, (field, value)
        assert not info.accepted
        assert info.kl == info.step_size == 0
        if field == "behaviour_log_probs":  # what is left of δ is made of them
            assert np.isnan(info.max_kl) or 0 <= info.max_kl <= np.float32(MAX_KL)
        else:
            assert info.max_kl == np.float32(MAX_KL)
        after = parts.variables()
        # What an episode has paid so far ends with it, counted or not.
        done = (rollout.terminated | rollout.truncated).any(axis=0)
        np.testing.assert_array_equal(after[RUNNING_RETURN], np.where(done, 0, running))
        running = after[RUNNING_RETURN]
        assert_bits_equal(before | {RUNNING_RETURN: after[RUNNING_RETURN]}, after)
        assert int(trpo.policy_version) == version + count
    assert trpo.update(make_rollout(parts.policy, seed=99)).accepted


def test_a_final_observation_that_is_not_finite() -> None:
    parts = make_parts()
    trpo = parts.trpo()
    rollout = make_rollout(parts.policy, seed=0)
    rollout.observations[-1, 0, 0] = np.nan
    trpo.value_regression.build(parts.value_function)
    before = parts.variables()
    assert StepStatus(trpo.update(rollout).status) is StepStatus.NON_FINITE_ROLLOUT
    after = parts.variables()
    assert_bits_equal(before | {RUNNING_RETURN: after[RUNNING_RETURN]}, after)


def test_actions_that_are_not_finite_leave_the_policy() -> None:
    parts = make_parts()
    before = [v.numpy() for v in parts.policy.trainable_variables]
    info = parts.trpo().update(poison(make_rollout(parts.policy, seed=0), "actions", np.nan))
    assert StepStatus(info.status) is StepStatus.NON_FINITE_GRADIENT
    for old, variable in zip(before, parts.policy.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_a_critic_that_diverges_is_left_as_it_was() -> None:
    parts = make_parts(scaled=False)
    parts.value_regression = ValueRegression(keras.optimizers.SGD(1e30), epochs=3)
    trpo = parts.trpo()
    trpo.value_regression.build(parts.value_function)
    before = [v.numpy() for v in parts.value_function.trainable_variables]
    assert trpo.update(make_rollout(parts.policy, seed=0)).accepted
    for old, variable in zip(before, parts.value_function.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_negative_max_lag() -> None:
    with pytest.raises(ValueError, match="max_lag must be >= 0 or None, got -1"):
        make_parts().trpo(max_lag=-1)


def test_negative_min_advantage() -> None:
    with pytest.raises(ValueError, match="min_advantage must be >= 0 and finite, got -1"):
        make_parts().trpo(min_advantage=-1)


# --- state --------------------------------------------------------------------------------------


def test_a_checkpoint_holds_all_that_an_update_reads(tmp_path: Path) -> None:
    first, second = make_parts(), make_parts()
    rollouts = []
    trpo = first.trpo()
    for seed in range(2):
        rollouts.append(make_rollout(first.policy, seed=seed))
        trpo.update(rollouts[-1])
    save_checkpoint(tmp_path, 2, trpo.checkpointables(), {})
    rollout = make_rollout(first.policy, seed=7)
    other = second.trpo()
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    restore_checkpoint(checkpoint, other.checkpointables())
    assert_bits_equal(first.variables(), second.variables())
    assert int(other.policy_version) == 2
    infos = [some.update(rollout) for some in (trpo, other)]
    assert infos[0] == infos[1]
    assert_bits_equal(first.variables(), second.variables())


class HandWrittenCritic(keras.Model):
    """A user's critic, not built yet, without statistics or scale."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, observations: Any) -> Any:
        return tf.squeeze(self.dense(observations), -1)


def test_models_of_ones_own() -> None:
    parts = make_parts("diagonal_gaussian", scaled=True)
    parts.value_function = HandWrittenCritic()
    trpo = parts.trpo()
    for update in range(2):
        assert trpo.update(make_rollout(parts.policy, update, "diagonal_gaussian")).accepted
    assert int(parts.policy.policy_version) == 2


def test_chunks_agree_with_the_whole() -> None:
    ends = []
    for chunk_rows in (None, 10):
        parts = make_parts(dtype="float64")
        parts.optimizer = NaturalGradientOptimizer(KLConstraint(MAX_KL), chunk_rows=chunk_rows)
        info = parts.trpo().update(make_rollout(parts.policy, seed=1))
        assert info.accepted
        ends.append(parts.variables())
    for name, value in ends[0].items():
        np.testing.assert_allclose(ends[1][name], value, rtol=1e-7, atol=1e-9, err_msg=name)


def test_the_unit_of_rewards_does_not_matter_to_the_critic() -> None:
    """Not even in the first fit: with a power of two not even to its last bit."""
    ends = []
    for unit in (1, 1024):
        parts = make_parts()
        kernel = parts.value_function.values.kernel
        # Values of which nothing is known yet are in no unit.
        kernel.assign(tf.zeros_like(kernel))
        trpo = parts.trpo()
        for seed in range(3):
            rollout = make_rollout(parts.policy, seed)
            trpo.update(rollout._replace(rewards=rollout.rewards * np.float32(unit)))
        values = parts.value_function(flat(make_rollout(parts.policy, 9).observations))
        assert np.ptp(values) > 0.01 * unit
        ends.append(values.numpy() / unit)
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    ("value", "narrow", "wide"),
    only(
        ((np.inf, "float32", "float64"), (-np.inf, "float16", "float32")),
        [
            (value, *types)
            for value in (np.inf, -np.inf, np.nan)
            for types in (("float32", "float64"), ("float16", "float32"))
        ],
    ),
)
def test_infinity_in_a_narrower_type_is_refused_too(value: float, narrow: str, wide: str) -> None:
    parts = make_parts(dtype=wide)
    rollout = make_rollout(parts.policy, seed=0)
    observations = rollout.observations.astype(narrow)
    assert parts.trpo().update(rollout._replace(observations=observations)).accepted
    before = parts.variables()
    observations[3, 1, 0] = value
    info = parts.trpo().update(rollout._replace(observations=observations))
    assert info.status is StepStatus.NON_FINITE_ROLLOUT
    after = parts.variables()
    assert_bits_equal(before | {RUNNING_RETURN: after[RUNNING_RETURN]}, after)


def test_a_critic_with_an_axis_too_many_is_refused() -> None:
    parts = make_parts()
    rollout = make_rollout(parts.policy, seed=0)
    critic = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"must return \[N\], got .*1\); squeeze its last axis"):
        dataclasses.replace(parts, value_function=critic).trpo().update(rollout)


def test_models_of_two_dtypes_are_refused() -> None:
    critic = make_parts(dtype="float64").value_function
    with pytest.raises(ValueError, match="must have one dtype, got float32 and float64"):
        dataclasses.replace(make_parts(), value_function=critic).trpo()
