"""The running deviation of the discounted return against sums over episodes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from oracles import Episodes, discounted_returns, random_episodes

from trpo_tf.execution import Execution
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.types import Rollout

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


def as_rollout(episodes: Episodes, start: int, stop: int, dtype: str) -> Rollout:
    rows = slice(start, stop)
    shape = episodes.rewards[rows].shape
    return Rollout(
        observations=np.zeros((shape[0] + 1, shape[1], 1), dtype),
        actions=np.zeros(shape, dtype),
        behaviour_log_probs=np.zeros(shape, dtype),
        rewards=episodes.rewards[rows].astype(dtype),
        terminated=episodes.terminated[rows],
        truncated=episodes.truncated[rows],
        mask=episodes.mask[rows],
        policy_version=np.zeros(shape, np.int64),
    )


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(3))
def test_deviation_over_rollouts(execution: Execution, dtype: str, seed: int) -> None:
    episodes = random_episodes(np.random.default_rng(seed), 24, 3)
    episodes = episodes._replace(rewards=episodes.rewards * 7 + 2 * episodes.mask)
    scaling = ReturnScaling(discount=0.9, num_envs=3, dtype=dtype)
    update = execution.compile(scaling.update)
    for start in range(0, 24, 8):
        update(tf.nest.map_structure(tf.constant, as_rollout(episodes, start, start + 8, dtype)))
    done = episodes.terminated | episodes.truncated
    returns = discounted_returns(episodes.rewards, done, episodes.mask, 0.9)[episodes.mask]
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(scaling.scale, returns.std(), rtol=tolerance)
    np.testing.assert_allclose(scaling.mean, returns.mean(), rtol=tolerance)
    assert float(scaling.count) == episodes.mask.sum()
    assert scaling.scale.dtype == dtype


def test_by_hand() -> None:
    column = lambda *values: np.array(values)[:, np.newaxis]  # noqa: E731
    episodes = Episodes(
        rewards=column(1.0, 2.0, 99.0, 4.0),
        values=np.zeros((5, 1)),
        terminated=column(False, True, False, False),
        truncated=column(False, False, False, False),
        mask=column(True, True, False, True),
    )
    scaling = ReturnScaling(discount=0.5, num_envs=1)
    scaling.update(as_rollout(episodes, 0, 4, "float32"))
    seen = [1.0, 2.0 + 0.5 * 1.0, 4.0]
    np.testing.assert_allclose(scaling.scale, np.std(seen), rtol=1e-6)
    np.testing.assert_allclose(scaling.discounted_return, [4.0])
    scaling.begin_episodes()
    np.testing.assert_allclose(scaling.scale, np.std(seen), rtol=1e-6)
    np.testing.assert_allclose(scaling.discounted_return, [0.0])


def test_one_before_data_and_when_nothing_varies() -> None:
    episodes = random_episodes(np.random.default_rng(0), 8, 2)
    scaling = ReturnScaling(discount=0.9, num_envs=2)
    assert float(scaling.scale) == 1.0
    nothing = episodes._replace(mask=np.zeros_like(episodes.mask))
    scaling.update(as_rollout(nothing, 0, 8, "float32"))
    assert (float(scaling.scale), float(scaling.count)) == (1.0, 0.0)
    no_reward = episodes._replace(rewards=np.zeros_like(episodes.rewards))
    scaling.update(as_rollout(no_reward, 0, 8, "float32"))
    assert float(scaling.scale) == 1.0


@ALL_WAYS
def test_relative_deviation_of_errors(execution: Execution) -> None:
    rng = np.random.default_rng(0)
    errors, weights = rng.normal(3, 2, 50), rng.choice([0.0, 0.5, 1.0], 50)
    errors[weights == 0] = np.nan
    scaling = ReturnScaling(discount=0.9, num_envs=1, dtype="float64")
    measure = execution.compile(scaling.relative_deviation)
    assert np.isinf(measure(tf.constant(errors), tf.constant(weights)))
    scaling.count.assign(1)
    scaling.variance.assign(16)
    counting = weights > 0
    mean = np.average(errors[counting], weights=weights[counting])
    variance = np.average((errors[counting] - mean) ** 2, weights=weights[counting])
    found = measure(tf.constant(errors), tf.constant(weights))
    np.testing.assert_allclose(found, np.sqrt(variance) / 4, rtol=1e-10)
    assert measure(tf.constant(errors), tf.zeros(50, tf.float64)) == 0


def test_masked_rewards_do_not_count() -> None:
    episodes = random_episodes(np.random.default_rng(1), 12, 3, end_probability=0.5)
    poisoned = episodes._replace(rewards=np.where(episodes.mask, episodes.rewards, np.nan))
    scales = []
    for some in (episodes, poisoned):
        scaling = ReturnScaling(discount=0.99, num_envs=3)
        scaling.update(as_rollout(some, 0, 12, "float32"))
        scales.append(float(scaling.scale))
    assert scales[0] == scales[1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"discount must lie in \[0, 1\], got 1.5"):
        ReturnScaling(discount=1.5, num_envs=1)
    with pytest.raises(ValueError, match="num_envs must be >= 1, got 0"):
        ReturnScaling(discount=0.9, num_envs=0)
    episodes = random_episodes(np.random.default_rng(0), 4, 2)
    with pytest.raises(ValueError, match="3 environments, got a rollout of 2"):
        ReturnScaling(discount=0.9, num_envs=3).update(as_rollout(episodes, 0, 4, "float32"))
