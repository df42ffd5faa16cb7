"""Replay: what is kept and merged, and updates on it against ones composed by hand."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from long_forms import long, only
from oracles import exact_advantages
from stale_episodes import LAYERS, StaleEpisodes, TabularCritic, TabularPolicy, enumerated
from stale_episodes import layered_mdp as make_mdp
from test_trpo import (
    MAX_KL,
    NUM_ENVS,
    NUM_STEPS,
    RUNNING_RETURN,
    Parts,
    as_version,
    assert_bits_equal,
    flat,
    make_parts,
    make_rollout,
    poison,
)

from trpo_tf.advantage import Advantage
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import make_policy, policy_version
from trpo_tf.replay import Replay
from trpo_tf.samplers import Sampler
from trpo_tf.staleness import effective_max_kl
from trpo_tf.trpo import _SEED_STRIDE, TRPO
from trpo_tf.types import Batch, Correction, Rollout, StepStatus, UpdateInfo
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression

WEIGHTS = (1.0, 0.6, 0.2)
VERSION = 4


def older_rollout(parts: Parts, age: int, kind: str = "gaussian") -> Rollout:
    """Of a policy some updates back, each a step further away."""
    older = zoo.make(kind, (4,), parts.policy.compute_dtype)
    for variable in older.trainable_variables:
        variable.assign_add(0.03 * age * tf.ones_like(variable))
    rollout = make_rollout(parts.policy, 10 + age, kind, behaviour=older)
    return rollout._replace(policy_version=rollout.policy_version - age)


def rollouts_of_three_ages(parts: Parts, kind: str = "gaussian") -> list[Rollout]:
    """Newest first."""
    newest = make_rollout(parts.policy, 10, kind)
    return [newest, *(older_rollout(parts, age, kind) for age in (1, 2))]


def filled(replay: Replay, rollouts: list[Rollout]) -> Replay:
    """A memory that holds all but the newest."""
    for rollout in reversed(rollouts[1:]):
        replay.remember(rollout)
    return replay


def cart_poles(num_steps: int) -> Sampler:
    env = gym.make_vec("CartPole-v1", num_envs=2)
    policy = make_policy(env.single_observation_space, env.single_action_space, hidden_sizes=(4,))
    return Sampler(env, policy, num_steps, seed=0)


def side_by_side(rollouts: list[Rollout]) -> Rollout:
    parts = [[tf.nest.flatten(field) for field in rollout] for rollout in rollouts]
    merged = [
        tf.nest.pack_sequence_as(field, [np.hstack(leaves) for leaves in zip(*leafs, strict=True)])
        for field, leafs in zip(rollouts[0], zip(*parts, strict=True), strict=True)
    ]
    return Rollout(*merged)


# --- what is kept and merged ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "dict_observations", "tuple_observations"])
def test_rollouts_stand_side_by_side_newest_first(kind: str) -> None:
    policy = zoo.make(kind)
    rollouts = [make_rollout(policy, seed, kind) for seed in range(5)]
    replay = Replay(3)
    for count, rollout in enumerate(rollouts):
        merged = replay.merge(rollout)
        kept = rollouts[max(0, count - 2) : count][::-1]
        absent = rollout._replace(mask=np.zeros_like(rollout.mask))
        expected = side_by_side([rollout, *kept, *[absent] * (2 - len(kept))])
        tf.nest.assert_same_structure(merged, rollout)
        for ours, theirs in zip(tf.nest.flatten(merged), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        assert merged.rewards.shape == (NUM_STEPS, 3 * NUM_ENVS)
        replay.remember(rollout)
        assert len(replay.remembered) == min(2, count + 1)
    assert [kept.rewards for kept in replay.remembered] == [
        rollouts[4].rewards,
        rollouts[3].rewards,
    ]
    replay.clear()
    assert replay.remembered == ()


def test_what_is_kept_is_the_samplers_own_and_never_written_again() -> None:
    sampler = cart_poles(num_steps=8)
    replay, copies = Replay(3), []
    for _ in range(5):
        rollout, _ = sampler.collect()
        replay.remember(rollout)
        copies.insert(0, tf.nest.map_structure(np.copy, rollout))
        assert np.shares_memory(replay.remembered[0].observations, rollout.observations)
    for kept, copy in zip(replay.remembered, copies, strict=False):
        for ours, theirs in zip(tf.nest.flatten(kept), tf.nest.flatten(copy), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(replay.remembered) == 2
    sampler.close()


def test_one_rollout_is_no_replay() -> None:
    rollout = make_rollout(zoo.make("gaussian"), 0)
    replay = Replay(1)
    replay.remember(rollout)
    assert replay.remembered == ()
    assert replay.merge(rollout) is rollout


def test_weights_are_those_of_columns_and_the_newest_weighs_1() -> None:
    replay = Replay(3, weights=[2, 1, 0.5])
    assert replay.weights == (1, 0.5, 0.25)
    assert replay.column_weights(2).tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert Replay(2).weights == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_rollouts": 0}, "num_rollouts must be >= 1, got 0"),
        ({"weights": [1, 1]}, r"weights must be num_rollouts = 3 finite numbers > 0.*got \[1, 1\]"),
        ({"weights": [1, 0, 1]}, r"> 0, newest first, got \[1, 0, 1\]"),
        ({"weights": [1, np.nan, 1]}, "weights must be"),
        ({"weights": [1, np.inf, 1]}, "weights must be"),
        ({"max_kl": 0.0}, r"max_kl must be > 0 and finite, or None, got 0\.0"),
        ({"max_kl": np.nan}, "max_kl must be > 0"),
        ({"num_rollouts": 1, "max_kl": 0.01}, "max_kl must be None where num_rollouts is 1"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Replay(**arguments)


def test_other_shapes_are_refused_until_all_is_forgotten() -> None:
    policy = zoo.make("gaussian")
    rollout = make_rollout(policy, 0)
    narrow = Rollout(*(field[:, :2] for field in rollout))
    replay = Replay(3)
    replay.remember(rollout)
    with pytest.raises(ValueError, match=r"\(12, 3\).*got.*\(12, 2\).*call clear\(\)"):
        replay.merge(narrow)
    replay.clear()
    assert replay.merge(narrow).rewards.shape == (NUM_STEPS, 6)


# --- an update, composed by hand ------------------------------------------------------------------


def compose(
    parts: Parts, rollouts: list[Rollout], weights: tuple[float, ...], max_kl: float
) -> tuple[UpdateInfo, dict[str, float]]:
    """An update of version VERSION in NumPy and the public parts: the step, and what to report."""
    merged = side_by_side(rollouts)
    newest = rollouts[0]
    rows = flat(tf.nest.map_structure(lambda part: part[:-1], merged.observations))
    everything = flat(merged.observations)
    shape = merged.rewards.shape
    values = np.reshape(parts.value_function(everything), (NUM_STEPS + 1, shape[1]))
    log_probs = np.reshape(parts.policy(rows).log_prob(flat(merged.actions)), shape)
    age = np.repeat(np.array(weights), NUM_ENVS)[None] * merged.mask
    difference = np.where(merged.mask, log_probs - merged.behaviour_log_probs, 0)
    ratio = np.minimum(np.exp(difference), 10)

    def mean(rows: np.ndarray) -> float:
        return float(np.sum(age * rows) / np.sum(age))

    plain = Advantage(parts.advantage.discount, parts.advantage.gae_lambda, normalize=False)
    estimate = plain(merged, values, log_probs)
    advantages = estimate.advantages.numpy()
    centred = advantages - mean(ratio * advantages) / mean(ratio)
    normalized = centred / np.sqrt(np.mean(centred[merged.mask] ** 2))
    travelled = mean(np.expm1(difference) - difference)
    left = max_kl - (np.sqrt(travelled * (max_kl + travelled / 4)) - travelled / 2)
    batch = Batch(
        rows,
        flat(merged.actions),
        normalized.ravel(),
        merged.behaviour_log_probs.ravel(),
        age.ravel(),
        ratio.ravel(),
    )
    info = parts.optimizer.step(parts.policy, batch, max_kl=left)
    scaling = parts.advantage.return_scaling
    assert scaling is not None
    targets = estimate.value_targets.numpy()
    scaling.update(newest)
    parts.value_function.set_output_scale(scaling.scale)
    parts.value_regression.fit(
        parts.value_function, rows, targets.ravel(), age.ravel(), scaling.scale, seed=0
    )
    own = flat(tf.nest.map_structure(lambda part: part[:-1], newest.observations))
    for model in (parts.policy, parts.value_function):
        model.update_statistics(own, newest.mask.ravel().astype(values.dtype))
    errors = targets - values[:-1]
    spread, unexplained = (
        mean((part - mean(part)) ** 2) for part in (np.where(merged.mask, targets, 0), errors)
    )
    return info, {
        "behaviour_kl": travelled,
        "max_kl": left,
        "policy_lag": mean(VERSION - merged.policy_version),
        "effective_sample_size": mean(np.exp(difference)) ** 2 / mean(np.exp(difference) ** 2),
        "explained_variance": 1 - unexplained / spread,
        "replayed_rows": np.sum(merged.mask[:, NUM_ENVS:]),
        "dropped_rows": 0,
    }


def assert_alike(found: Parts, expected: Parts, **tolerance: float) -> None:
    for name, value in expected.variables().items():
        got = found.variables()[name]
        np.testing.assert_allclose(got, value, err_msg=name, **tolerance)


@pytest.mark.parametrize(
    ("execution", "kind"),
    [
        (Execution.GRAPH, "dict_observations"),
        *long([(Execution.XLA, "dict_observations"), (Execution.EAGER, "gaussian")]),
    ],
)
def test_an_update_is_one_on_weighted_rows_of_all_rollouts(execution: Execution, kind: str) -> None:
    together, apart = (as_version(make_parts(kind, "float64"), VERSION) for _ in range(2))
    rollouts = rollouts_of_three_ages(together, kind)
    assert all(not rollout.mask.all() for rollout in rollouts)
    replay = filled(Replay(3, WEIGHTS), rollouts)
    trpo = together.trpo(execution, seed=-VERSION * _SEED_STRIDE, replay=replay)
    info = trpo.update(rollouts[0])
    expected, reported = compose(apart, rollouts, WEIGHTS, MAX_KL)
    assert info.accepted
    assert info.behaviour_kl > 1e-4
    assert_alike(together, apart, rtol=1e-6, atol=1e-7)
    for field in ("surrogate_before", "surrogate_after", "kl", "entropy", "cg_residual_norm"):
        close = np.testing.assert_allclose
        close(getattr(info, field), getattr(expected, field), rtol=1e-5, atol=1e-8, err_msg=field)
    for field, value in reported.items():
        np.testing.assert_allclose(getattr(info, field), value, rtol=1e-6, err_msg=field)


@pytest.mark.parametrize("others", only(([0.2, 0.6],), [[1.0, 1.0], [0.2, 0.6], [0.6, 0.21]]))
def test_the_composition_notices_other_weights(others: list[float]) -> None:
    """So the test above would fail if weights arrived at the wrong rollouts, or not at all."""
    together, apart = (as_version(make_parts(dtype="float64"), VERSION) for _ in range(2))
    rollouts = rollouts_of_three_ages(together)
    replay = filled(Replay(3, [1.0, *others]), rollouts)
    together.trpo(seed=-VERSION * _SEED_STRIDE, replay=replay).update(rollouts[0])
    compose(apart, rollouts, WEIGHTS, MAX_KL)
    with pytest.raises(AssertionError):
        assert_alike(together, apart, rtol=1e-6, atol=1e-7)


def test_only_the_ratios_of_weights_matter() -> None:
    ends = []
    for factor in (1, 7.5):
        parts = as_version(make_parts(), VERSION)
        rollouts = rollouts_of_three_ages(parts)
        replay = filled(Replay(3, [factor, factor / 2, factor / 4]), rollouts)
        assert parts.trpo(replay=replay).update(rollouts[0]).accepted
        ends.append(parts.variables())
    assert_bits_equal(*ends)


def test_statistics_take_the_newest_rollout_alone() -> None:
    alone, replaying = (as_version(make_parts(), VERSION) for _ in range(2))
    rollouts = rollouts_of_three_ages(alone)
    alone.trpo().update(rollouts[0])
    replaying.trpo(replay=filled(Replay(3), rollouts)).update(rollouts[0])
    for name in ("count", "mean", "variance"):
        ours, expected = (getattr(p.policy.torso.normalizer, name) for p in (replaying, alone))
        np.testing.assert_array_equal(ours, expected)
    for index in range(4):
        name = f"return_scaling/{index}"
        np.testing.assert_array_equal(replaying.variables()[name], alone.variables()[name])
    moved = alone.policy.trainable_variables[0] - replaying.policy.trainable_variables[0]
    assert np.abs(moved).max() > 1e-4


# --- off, and while the memory fills --------------------------------------------------------------


def test_a_replay_of_one_changes_no_bit() -> None:
    ends = []
    for replay in (None, Replay(1)):
        parts = make_parts()
        trpo = parts.trpo(replay=replay)
        infos = [trpo.update(make_rollout(parts.policy, seed)) for seed in range(2)]
        assert all(info.accepted and info.replayed_rows == 0 for info in infos)
        ends.append((parts.variables(), infos))
    assert_bits_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


@pytest.mark.parametrize(
    ("execution", "weights"), [(Execution.GRAPH, None), *long([(Execution.XLA, WEIGHTS)])]
)
def test_the_first_update_is_one_without_replay(
    execution: Execution, weights: tuple[float, ...] | None
) -> None:
    """To rounding, where the critic takes all rows at once: stand-ins count nowhere."""
    ends = []
    for replay in (None, Replay(3, weights)):
        parts = make_parts(dtype="float64")
        parts.value_regression = ValueRegression(epochs=3, minibatch_size=None)
        info = parts.trpo(execution, replay=replay).update(make_rollout(parts.policy, 0))
        ends.append((parts, info))
    assert ends[0][1].accepted
    assert_alike(ends[1][0], ends[0][0], rtol=1e-8, atol=1e-10)
    for field, value in ends[0][1]._asdict().items():
        got = getattr(ends[1][1], field)
        np.testing.assert_allclose(got, value, rtol=1e-7, atol=1e-12, err_msg=field)


def test_one_program_whatever_is_remembered() -> None:
    parts = make_parts()
    trpo = parts.trpo(Execution.XLA, replay=Replay(3))
    rows = []
    for seed in range(4):
        rollout = make_rollout(parts.policy, seed)
        rows.append(rollout.mask.sum())
        info = trpo.update(rollout)
        assert info.accepted
        assert info.replayed_rows == sum(rows[-3:-1])
        assert info.dropped_rows == 0
    assert trpo._compiled_update.experimental_get_tracing_count() == 1
    assert 0.5 < info.policy_lag < 1.5
    assert info.behaviour_kl > 0
    assert info.kl <= info.max_kl < np.float32(MAX_KL)


def test_a_checkpoint_does_not_hold_the_memory() -> None:
    with_replay, without = (
        make_parts().trpo(replay=replay).checkpointables() for replay in (Replay(3), None)
    )
    assert list(with_replay) == list(without)


# --- the trust region -----------------------------------------------------------------------------


def test_a_budget_of_its_own() -> None:
    parts = as_version(make_parts(), VERSION)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.02, 2, 0.01)
    parts.optimizer = NaturalGradientOptimizer(KLConstraint(schedule), execution=Execution.GRAPH)
    rollouts = rollouts_of_three_ages(parts)
    replay = filled(Replay(3, max_kl=0.003), rollouts)
    correction = Correction(trust_region=False)
    info = parts.trpo(replay=replay, correction=correction).update(rollouts[0])
    assert info.max_kl == np.float32(0.003)
    assert 0.9 * 0.003 < info.kl <= info.max_kl
    shrunk = parts.trpo(replay=replay).update(make_rollout(parts.policy, 1))
    assert shrunk.behaviour_kl > 0
    assert 0 < shrunk.max_kl < 0.003


@pytest.mark.parametrize(
    ("num_rollouts", "settles_at", "worst_case"), [(2, 0.59, 0.44), (3, 0.44, 0.25)]
)
def test_where_the_budget_settles(num_rollouts: int, settles_at: float, worst_case: float) -> None:
    """The numbers of the docstring: steps that all go one way, as far as they may."""
    ages = np.arange(num_rollouts)
    left = 1.0
    for _ in range(100):
        left = float(effective_max_kl(1.0, tf.constant(np.mean(ages**2) * left)))
    assert left == pytest.approx(settles_at, abs=0.005)
    assert np.mean(ages + 1) ** -2 == pytest.approx(worst_case, abs=0.005)


# --- what is never remembered ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", only(("rewards",), ["rewards", "observations", "behaviour_log_probs"])
)
def test_a_rollout_that_is_not_finite_is_not_remembered(field: str) -> None:
    refused, never_was = make_parts(), make_parts()
    ends = []
    for parts in (refused, never_was):
        trpo = parts.trpo(replay=Replay(3))
        assert trpo.update(make_rollout(parts.policy, 0)).accepted
        before = parts.variables()
        if parts is refused:
            bad = poison(make_rollout(parts.policy, 1), field, np.nan)
            assert trpo.update(bad).status is StepStatus.NON_FINITE_ROLLOUT
            after = parts.variables()
            assert_bits_equal(before | {RUNNING_RETURN: after[RUNNING_RETURN]}, after)
            assert len(trpo.replay.remembered) == 1
        else:
            policy_version(parts.policy).assign_add(1)
            # What an episode of the refused rollout had paid ended with it.
            done = (bad.terminated | bad.truncated).any(axis=0)
            scaling = parts.advantage.return_scaling
            assert scaling is not None
            running = np.where(done, 0, scaling.discounted_return).astype(np.float32)
            scaling.discounted_return.assign(running)
        infos = [trpo.update(make_rollout(parts.policy, seed)) for seed in (2, 3)]
        assert all(info.accepted for info in infos)
        ends.append(infos)
    assert ends[0] == ends[1]
    assert_bits_equal(refused.variables(), never_was.variables())


def test_a_gradient_that_is_not_finite_clears_the_memory() -> None:
    parts = make_parts()
    trpo = parts.trpo(replay=Replay(3))
    trpo.update(make_rollout(parts.policy, 0))
    bad = poison(make_rollout(parts.policy, 1), "actions", np.nan)
    assert trpo.update(bad).status is StepStatus.NON_FINITE_GRADIENT
    assert trpo.replay.remembered == ()
    for seed in (2, 3):
        assert trpo.update(make_rollout(parts.policy, seed)).accepted


def test_rows_that_come_to_be_too_old_are_dropped_and_not_counted() -> None:
    dropping, without = (as_version(make_parts(dtype="float64"), VERSION) for _ in range(2))
    rollouts = rollouts_of_three_ages(dropping)
    late = np.arange(NUM_STEPS)[:, None] < 3
    newest = rollouts[0]._replace(policy_version=np.where(late, 2, rollouts[0].policy_version))
    trpo = dropping.trpo(max_lag=1, replay=filled(Replay(3, WEIGHTS), rollouts))
    info = trpo.update(newest)
    assert info.dropped_rows == np.sum(newest.mask & late) > 0
    assert info.replayed_rows == rollouts[1].mask.sum()
    parts = [newest._replace(mask=newest.mask & ~late), *rollouts[1:]]
    parts[2] = parts[2]._replace(mask=np.zeros_like(parts[2].mask))
    masked = without.trpo(replay=filled(Replay(3, WEIGHTS), parts))
    expected = masked.update(parts[0])
    for field in ("kl", "surrogate_after", "explained_variance", "max_kl", "policy_lag"):
        np.testing.assert_allclose(getattr(info, field), getattr(expected, field), rtol=1e-9)


# --- unbiased, where linear algebra knows the truth -----------------------------------------------

close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


@functools.cache
def episodes_of_two_policies(seed: int) -> tuple[StaleEpisodes, StaleEpisodes]:
    """Every episode of two behaviours of one process, as often as its probability says."""
    rng = np.random.default_rng(seed)
    mdp = make_mdp(rng)
    logits = rng.normal(scale=0.7, size=(2 * LAYERS, 2))
    cases = []
    for first in (rng.integers(1, 4, size=2 * LAYERS) / 4 for _ in range(2)):
        cases.append(enumerated(mdp, np.stack([first, 1 - first], axis=1), logits))
    return cases[0], cases[1]


def exact_sum(case: StaleEpisodes, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the rows of an episode: the surrogate's gradient in logits, the critic's in values."""
    rows = case.visits[:, None] * case.target * exact_advantages(case.mdp, case.target)
    gradient = rows - case.target * rows.sum(axis=1, keepdims=True)
    return gradient, case.visits * (case.values - values)


@pytest.mark.parametrize(
    ("seed", "execution"),
    only(((1, Execution.GRAPH),), [(0, Execution.XLA), (1, Execution.GRAPH), (2, Execution.EAGER)]),
)
def test_replayed_updates_are_unbiased(seed: int, execution: Execution) -> None:
    """Step and critic follow Σ_i ν_i of each behaviour's exact gradient; no weight, no truth."""
    newer, older = episodes_of_two_policies(seed)
    values = 2 * np.random.default_rng(99).normal(size=newer.values.shape)
    weights = (1.0, 0.4)
    steps = {}
    for name, correction in (("full", Correction()), ("plain", Correction(weights=False))):
        policy, critic = TabularPolicy(newer.logits), TabularCritic(values)
        policy_version(policy).assign(1)
        replay = Replay(2, weights)
        replay.remember(older.rollout)
        trpo = TRPO(
            policy,
            critic,
            Advantage(newer.mdp.discount, 1.0, False, None, np.inf, importance_clip=np.inf),
            NaturalGradientOptimizer(KLConstraint(MAX_KL), damping=1e9),
            ValueRegression(keras.optimizers.SGD(0.5), epochs=1, minibatch_size=None),
            correction,
            execution=execution,
            replay=replay,
        )
        assert trpo.update(newer.rollout).accepted
        step = policy.logits.numpy() - newer.logits
        steps[name] = step / np.linalg.norm(step)
        fitted = critic.values.numpy()
    gradients, errors = zip(*(exact_sum(case, values) for case in (newer, older)), strict=True)

    def mixture(terms: Any, ratios: tuple[float, float] = weights) -> np.ndarray:
        return ratios[0] * terms[0] + ratios[1] * terms[1]

    def direction(gradient: np.ndarray) -> np.ndarray:
        return gradient / np.linalg.norm(gradient)

    np.testing.assert_allclose(steps["full"], direction(mixture(gradients)), atol=1e-7)
    close(fitted, values + mixture(errors) / mixture([c.visits.sum() for c in (newer, older)]))
    # What it is not: the gradient of equal weights, of either alone, or without the ratios.
    for ratios in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
        assert np.abs(steps["full"] - direction(mixture(gradients, ratios))).max() > 1e-3
    assert np.abs(steps["plain"] - direction(mixture(gradients))).max() > 0.05


def test_replay_with_a_sampler() -> None:
    """Rows of earlier rollouts are as old as the updates between."""
    sampler = cart_poles(num_steps=32)
    trpo = TRPO(
        sampler.policy,
        make_value_function(sampler.policy.observation_space, hidden_sizes=(4,)),
        Advantage(),
        NaturalGradientOptimizer(KLConstraint(MAX_KL)),
        ValueRegression(epochs=1),
        execution=Execution.GRAPH,
        replay=Replay(3),
    )
    masks: list[np.ndarray] = []
    for _ in range(4):
        rollout, _ = sampler.collect()
        masks.insert(0, rollout.mask)
        info = trpo.update(rollout)
        counts = [mask.sum() for mask in masks[:3]]
        assert info.accepted
        np.testing.assert_allclose(
            info.policy_lag, np.average(range(len(counts)), weights=counts), rtol=1e-6
        )
    sampler.close()
