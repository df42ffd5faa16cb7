"""GAE and its corrected form against double sums and hand arithmetic."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import Episodes, advantage_sums, gae, random_episodes

from trpo_tf.advantage import Advantage, generalized_advantages
from trpo_tf.execution import Execution
from trpo_tf.types import AdvantageEstimate, Rollout

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SEEDS = pytest.mark.parametrize("seed", range(6))
DISCOUNT, GAE_LAMBDA = 0.97, 0.9


def as_rollout(episodes: Episodes, behaviour_log_probs: np.ndarray, dtype: str) -> Rollout:
    num_steps, num_envs = episodes.rewards.shape
    return Rollout(
        observations=tf.zeros([num_steps + 1, num_envs, 1], dtype),
        actions=tf.zeros([num_steps, num_envs], dtype),
        behaviour_log_probs=tf.constant(behaviour_log_probs, dtype),
        rewards=tf.constant(episodes.rewards, dtype),
        terminated=tf.constant(episodes.terminated),
        truncated=tf.constant(episodes.truncated),
        mask=tf.constant(episodes.mask),
        policy_version=tf.zeros([num_steps, num_envs], tf.int64),
    )


def plain(episodes: Episodes, discount: float, gae_lambda: float) -> AdvantageEstimate:
    rollout = as_rollout(episodes, np.zeros(episodes.rewards.shape), "float64")
    advantage = Advantage(discount, gae_lambda, normalize=False)
    return advantage(rollout, tf.constant(episodes.values))


def close(got: tf.Tensor, expected: np.ndarray, dtype: str) -> None:
    assert got.dtype == dtype
    tolerance = 2e-5 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


# --- on policy ----------------------------------------------------------------------------------


@ALL_WAYS
@DTYPES
def test_lambda_follows_its_schedule(execution: Execution, dtype: str) -> None:
    rng = np.random.default_rng(0)
    episodes = random_episodes(rng, 17, 4)
    rollout = as_rollout(episodes, rng.normal(size=(17, 4)), dtype)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.9, 4, 0.5)
    advantage = execution.compile(
        lambda number: Advantage(DISCOUNT, schedule, normalize=False)(
            rollout, tf.constant(episodes.values, dtype), num_updates=number
        )
    )
    for number, gae_lambda in ((0, 0.9), (2, 0.7), (9, 0.5)):
        # Keras computes schedules in float32.
        expected = gae(*episodes, DISCOUNT, float(schedule(number)))
        np.testing.assert_allclose(schedule(number), gae_lambda, rtol=1e-6)
        close(advantage(tf.constant(number, tf.int64)).advantages, expected, dtype)


@ALL_WAYS
@DTYPES
@SEEDS
def test_on_policy_is_gae(execution: Execution, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 17, 4)
    rollout = as_rollout(episodes, rng.normal(size=(17, 4)), dtype)
    advantage = execution.compile(Advantage(DISCOUNT, GAE_LAMBDA, normalize=False))
    estimate = advantage(rollout, tf.constant(episodes.values, dtype))
    expected = gae(*episodes, DISCOUNT, GAE_LAMBDA)
    close(estimate.advantages, expected, dtype)
    close(estimate.value_targets, expected + episodes.values[:-1], dtype)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, np.newaxis]


def by_hand(
    rewards: np.ndarray, values: np.ndarray, terminated: int | None, truncated: int | None
) -> np.ndarray:
    steps = len(rewards)
    mask = np.ones((steps, 1), bool)
    ends = [end for end in (terminated, truncated) if end is not None]
    if ends and ends[0] + 1 < steps:
        mask[ends[0] + 1] = False
    episodes = Episodes(
        rewards,
        values,
        np.arange(steps)[:, None] == (-1 if terminated is None else terminated),
        np.arange(steps)[:, None] == (-1 if truncated is None else truncated),
        mask,
    )
    return plain(episodes, 0.9, 0.5).advantages.numpy().ravel()


REWARDS, VALUES = column(1.0, 2.0, 0.0, 3.0), column(10.0, 20.0, 30.0, 40.0, 50.0)


def test_an_open_end_bootstraps_by_hand() -> None:
    last = 3 + 0.9 * 50 - 40
    third = (0 + 0.9 * 40 - 30) + 0.9 * 0.5 * last
    second = (2 + 0.9 * 30 - 20) + 0.9 * 0.5 * third
    first = (1 + 0.9 * 20 - 10) + 0.9 * 0.5 * second
    np.testing.assert_allclose(by_hand(REWARDS, VALUES, None, None), [first, second, third, last])


def test_a_termination_has_no_bootstrap_by_hand() -> None:
    after = 3 + 0.9 * 50 - 40
    ended = 2 - 20
    first = (1 + 0.9 * 20 - 10) + 0.9 * 0.5 * ended
    np.testing.assert_allclose(by_hand(REWARDS, VALUES, 1, None), [first, ended, 0, after])


def test_a_truncation_bootstraps_from_its_final_observation_by_hand() -> None:
    after = 3 + 0.9 * 50 - 40
    cut = 2 + 0.9 * 30 - 20
    first = (1 + 0.9 * 20 - 10) + 0.9 * 0.5 * cut
    np.testing.assert_allclose(by_hand(REWARDS, VALUES, None, 1), [first, cut, 0, after])


def test_both_flags_count_as_terminated() -> None:
    both, terminated = (by_hand(REWARDS, VALUES, 1, cut) for cut in (1, None))
    np.testing.assert_array_equal(both, terminated)


def test_an_end_on_the_last_row_by_hand() -> None:
    np.testing.assert_allclose(by_hand(REWARDS, VALUES, 3, None)[-1], 3 - 40)
    np.testing.assert_allclose(by_hand(REWARDS, VALUES, None, 3)[-1], 3 + 0.9 * 50 - 40)


@SEEDS
@pytest.mark.parametrize("gae_lambda", [0.0, 1.0])
def test_the_ends_of_lambda(seed: int, gae_lambda: float) -> None:
    """λ = 0 is the one-step error, λ = 1 the discounted return of the episode minus the value."""
    episodes = random_episodes(np.random.default_rng(seed), 15, 3)
    rewards, values, terminated, truncated, mask = episodes
    targets = plain(episodes, DISCOUNT, gae_lambda).value_targets.numpy()
    for t, b in np.argwhere(mask):
        end = t
        while gae_lambda == 1 and end < 14 and not (terminated | truncated)[end, b]:
            end += 1
        expected = sum(DISCOUNT ** (k - t) * rewards[k, b] for k in range(t, end + 1))
        if not terminated[end, b]:
            expected += DISCOUNT ** (end + 1 - t) * values[end + 1, b]
        np.testing.assert_allclose(targets[t, b], expected)


@SEEDS
def test_splitting_at_episode_ends_changes_nothing(seed: int) -> None:
    episodes = random_episodes(np.random.default_rng(seed), 30, 1, end_probability=0.2)
    whole = plain(episodes, DISCOUNT, GAE_LAMBDA)
    done = (episodes.terminated | episodes.truncated).ravel()
    bounds = sorted({0, *(np.flatnonzero(done) + 1).tolist(), 30})
    assert len(bounds) > 2
    parts = []
    for start, stop in itertools.pairwise(bounds):
        cut = [field[start:stop] for field in episodes]
        part = Episodes(*cut)._replace(values=episodes.values[start : stop + 1])
        parts.append(plain(part, DISCOUNT, GAE_LAMBDA))
    for name in AdvantageEstimate._fields:
        together = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(together, getattr(whole, name), rtol=1e-12, atol=1e-12)


@SEEDS
def test_dummy_rows_hold_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 20, 3, end_probability=0.4)
    estimate = plain(episodes, DISCOUNT, GAE_LAMBDA)
    dummy = ~episodes.mask
    assert dummy.any()
    np.testing.assert_array_equal(estimate.advantages.numpy()[dummy], 0)
    np.testing.assert_array_equal(
        estimate.value_targets.numpy()[dummy], episodes.values[:-1][dummy]
    )
    poisoned = episodes._replace(rewards=np.where(dummy, np.nan, episodes.rewards))
    again = plain(poisoned, DISCOUNT, GAE_LAMBDA)
    np.testing.assert_array_equal(estimate.advantages, again.advantages)


@SEEDS
def test_dummy_rows_anywhere_cut_the_sum(seed: int) -> None:
    """Wherever a mask may come from, rows on either side of a masked one do not mix."""
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 20, 3)
    episodes = episodes._replace(mask=rng.random((20, 3)) < 0.7)
    expected = gae(*episodes, DISCOUNT, GAE_LAMBDA)
    close(plain(episodes, DISCOUNT, GAE_LAMBDA).advantages, expected, "float64")


# --- off policy ---------------------------------------------------------------------------------


@ALL_WAYS
@DTYPES
@SEEDS
def test_corrected_form(execution: Execution, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 14, 3)
    rho, trace = rng.uniform(0, 1.5, size=(2, 14, 3))
    function = execution.compile(
        lambda *arrays: generalized_advantages(
            *arrays[:5], DISCOUNT, GAE_LAMBDA, rho=arrays[5], c=arrays[6]
        )
    )
    arrays = [*episodes, rho, trace]
    tensors = [tf.constant(a, "bool" if a.dtype == bool else dtype) for a in arrays]
    advantages, corrections = function(*tensors)
    expected = advantage_sums(*episodes, DISCOUNT, GAE_LAMBDA, rho, GAE_LAMBDA * trace)
    close(advantages, expected[0], dtype)
    close(corrections, expected[1], dtype)


@SEEDS
@pytest.mark.parametrize("trace_clip", [1.0, 0.7, 2.0])
def test_ratios_are_truncated(seed: int, trace_clip: float) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 14, 3)
    behaviour, target = rng.normal(scale=0.5, size=(2, 14, 3))
    advantage = Advantage(DISCOUNT, GAE_LAMBDA, normalize=False, trace_clip=trace_clip)
    estimate = advantage(
        as_rollout(episodes, behaviour, "float64"),
        tf.constant(episodes.values),
        target_log_probs=tf.constant(target),
    )
    ratio = np.minimum(trace_clip, np.exp(target - behaviour))
    expected = advantage_sums(*episodes, DISCOUNT, GAE_LAMBDA, ratio, GAE_LAMBDA * ratio)
    close(estimate.advantages, expected[0], "float64")
    close(estimate.value_targets, episodes.values[:-1] + expected[1], "float64")


def test_corrected_by_hand() -> None:
    """Two steps, ratios 1/2 and 3 (truncated to 1): which weight stands where."""
    episodes = Episodes(
        rewards=column(1.0, 2.0),
        values=column(10.0, 20.0, 30.0),
        terminated=np.zeros((2, 1), bool),
        truncated=np.zeros((2, 1), bool),
        mask=np.ones((2, 1), bool),
    )
    rollout = as_rollout(episodes, np.zeros((2, 1)), "float64")
    advantage = Advantage(discount=0.9, gae_lambda=0.5, normalize=False)
    target = tf.math.log(tf.constant([[0.5], [3.0]], tf.float64))
    estimate = advantage(rollout, tf.constant(episodes.values), target_log_probs=target)
    first_error, second_error = 1 + 0.9 * 20 - 10, 2 + 0.9 * 30 - 20
    np.testing.assert_allclose(
        estimate.advantages.numpy().ravel(),
        [first_error + 0.9 * 0.5 * 1 * second_error, second_error],
    )
    np.testing.assert_allclose(
        estimate.value_targets.numpy().ravel(),
        [10 + 0.5 * first_error + 0.9 * (0.5 * 0.5) * 1 * second_error, 20 + 1 * second_error],
    )


@ALL_WAYS
@pytest.mark.parametrize("normalize", [False, True])
def test_on_policy_the_correction_changes_no_bit(execution: Execution, normalize: bool) -> None:
    rng = np.random.default_rng(0)
    episodes = random_episodes(rng, 20, 3)
    behaviour = rng.normal(size=(20, 3))
    rollout = as_rollout(episodes, behaviour, "float32")
    values = tf.constant(episodes.values, tf.float32)
    advantage = Advantage(normalize=normalize)
    uncorrected = execution.compile(lambda r, v: advantage(r, v))(rollout, values)
    corrected = execution.compile(lambda r, v, p: advantage(r, v, target_log_probs=p))(
        rollout, values, tf.constant(behaviour, tf.float32)
    )
    for a, b in zip(uncorrected, corrected, strict=True):
        np.testing.assert_array_equal(a, b)


@ALL_WAYS
def test_importance_weights(execution: Execution) -> None:
    episodes = random_episodes(np.random.default_rng(3), 10, 2, end_probability=0.4)
    behaviour, target = np.random.default_rng(4).normal(scale=2, size=(2, 10, 2))
    rollout = as_rollout(episodes, np.where(episodes.mask, behaviour, np.nan), "float64")
    advantage = Advantage(importance_clip=3.0)
    weights = execution.compile(advantage.importance_weights)(rollout, tf.constant(target))
    expected = np.where(episodes.mask, np.minimum(3.0, np.exp(target - behaviour)), 1.0)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert (expected == 3.0).any()


# --- normalisation ------------------------------------------------------------------------------


@ALL_WAYS
@DTYPES
@SEEDS
def test_normalised_over_valid_rows(execution: Execution, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 25, 3)
    rollout = as_rollout(episodes, rng.normal(size=(25, 3)), dtype)
    estimate = execution.compile(Advantage(DISCOUNT, GAE_LAMBDA))(
        rollout, tf.constant(episodes.values, dtype)
    )
    raw = gae(*episodes, DISCOUNT, GAE_LAMBDA)
    valid = raw[episodes.mask]
    expected = np.where(episodes.mask, (raw - valid.mean()) / valid.std(), 0)
    close(estimate.advantages, expected, dtype)
    close(estimate.value_targets, raw + episodes.values[:-1], dtype)


@SEEDS
def test_off_policy_the_weighted_mean_is_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = random_episodes(rng, 25, 3)
    behaviour, target = rng.normal(scale=0.5, size=(2, 25, 3))
    rollout = as_rollout(episodes, behaviour, "float64")
    values = tf.constant(episodes.values)
    normalised, raw = (
        Advantage(DISCOUNT, GAE_LAMBDA, normalize=flag)(rollout, values, tf.constant(target))
        for flag in (True, False)
    )
    weights = np.minimum(10, np.exp(target - behaviour)) * episodes.mask
    scores, before = normalised.advantages.numpy(), raw.advantages.numpy()
    assert abs(np.sum(weights * scores)) < 1e-10
    centre = np.sum(weights * before) / np.sum(weights)
    slope = scores[episodes.mask] / (before[episodes.mask] - centre)
    np.testing.assert_allclose(slope, slope[0], rtol=1e-8)
    assert slope[0] > 0
    np.testing.assert_array_equal(normalised.value_targets, raw.value_targets)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e25])
def test_normalisation_keeps_in_range(scale: float) -> None:
    episodes = random_episodes(np.random.default_rng(0), 25, 3)
    zero_values = np.zeros_like(episodes.values)
    scores = []
    for factor in (1.0, scale):
        scaled = episodes._replace(rewards=episodes.rewards * factor, values=zero_values)
        rollout = as_rollout(scaled, np.zeros((25, 3)), "float32")
        scores.append(Advantage()(rollout, tf.zeros([26, 3])).advantages)
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4, atol=1e-5)


def test_equal_advantages_become_zero() -> None:
    mask = np.ones((8, 2), bool)
    episodes = Episodes(np.full((8, 2), 0.3), np.full((9, 2), 0.7), mask, ~mask, mask)
    rollout = as_rollout(episodes, np.zeros((8, 2)), "float32")
    values = tf.constant(episodes.values, tf.float32)
    np.testing.assert_array_equal(Advantage()(rollout, values).advantages, np.zeros((8, 2)))


def test_one_valid_row_becomes_zero() -> None:
    episodes = random_episodes(np.random.default_rng(0), 5, 1)
    episodes = episodes._replace(mask=column(0, 0, 1, 0, 0).astype(bool))
    rollout = as_rollout(episodes, np.zeros((5, 1)), "float32")
    values = tf.constant(episodes.values, tf.float32)
    np.testing.assert_array_equal(Advantage()(rollout, values).advantages, np.zeros((5, 1)))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("discount", 1.01, r"discount must lie in \[0, 1\], got 1.01"),
        ("gae_lambda", -0.1, r"gae_lambda must lie in \[0, 1\], got -0.1"),
        ("trace_clip", 0.0, "trace_clip must be > 0, got 0.0"),
        ("importance_clip", -2.0, "importance_clip must be > 0, got -2.0"),
        ("discount", float("nan"), "discount must lie in"),
    ],
)
def test_bad_arguments(argument: str, value: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Advantage(**{argument: value})


@pytest.mark.parametrize("shape", [(4, 2), (5, 3), (5,)])
def test_values_of_another_shape(shape: tuple[int, ...]) -> None:
    episodes = random_episodes(np.random.default_rng(0), 4, 2)
    rollout = as_rollout(episodes, np.zeros((4, 2)), "float32")
    with pytest.raises(ValueError, match=r"\[T\+1, B\] = \[5, 2\]"):
        Advantage()(rollout, tf.zeros(shape))


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_a_critic_that_is_not_finite_does_not_look_like_equal_advantages(spoilt: float) -> None:
    rollout = Rollout(
        observations=np.zeros((4, 2, 1), np.float32),
        actions=np.zeros((3, 2), np.int32),
        behaviour_log_probs=np.zeros((3, 2), np.float32),
        rewards=np.ones((3, 2), np.float32),
        terminated=np.zeros((3, 2), bool),
        truncated=np.zeros((3, 2), bool),
        mask=np.ones((3, 2), bool),
        policy_version=np.zeros((3, 2), np.int64),
    )
    values = np.zeros((4, 2), np.float32)
    values[1, 0] = spoilt
    advantages = Advantage()(rollout, values).advantages
    assert not np.isfinite(advantages).all()
