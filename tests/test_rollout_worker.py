"""A worker's sampler in this process: what a recipe makes, and what it refuses."""

from __future__ import annotations

import functools
import os

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.environments import make_vector_env
from trpo_tf.policies import make_policy
from trpo_tf.samplers import Recipe, Sampler, take_snapshot
from trpo_tf.samplers.rollout_worker import RolloutWorker

SPACES = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32), gym.spaces.Discrete(2)


def make_envs(num_envs, seed):
    return make_vector_env("CartPole-v1", num_envs)


def small_policy(units=8, seed=0):
    return make_policy(*SPACES, hidden_sizes=(units,), seed=seed)


RECIPE = Recipe(make_envs, small_policy, num_envs=2, num_steps=6, seed=5)


def started(recipe=RECIPE, index=0, state=None, life=0):
    worker = RolloutWorker(recipe, index)
    worker.start(state, life)
    return worker


def assert_same_rollout(one, other):
    for name, rows, twin in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(rows, twin, err_msg=name)


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_workers_side_by_side_collect_what_one_sampler_of_all_environments_does(num_workers):
    policy = small_policy(seed=3)
    whole = Sampler(make_envs(4, 0), policy, num_steps=6, seed=5)
    recipe = RECIPE._replace(num_envs=4 // num_workers)
    workers = [started(recipe, index) for index in range(num_workers)]
    for _ in range(2):
        rollout, episodes = whole.collect()
        parts = [worker.collect(take_snapshot(policy)) for worker in workers]
        for part, columns in zip(parts, np.split(np.arange(4), num_workers), strict=True):
            assert_same_rollout(
                part.rollout, type(rollout)(*(rows[:, columns] for rows in rollout))
            )
        assert sum(len(part.episodes.returns) for part in parts) == len(episodes.returns)
    assert sum(worker._sampler.env_steps for worker in workers) == whole.env_steps


def test_a_worker_goes_on_after_the_rollout_that_it_is_told_of():
    first = started()
    snapshot = take_snapshot(small_policy())
    part = first.collect(snapshot)
    following = started(state=part.state, life=1).collect(snapshot)
    twin = Sampler(make_envs(2, 0), small_policy(), num_steps=6, seed=5)
    twin.restore(part.state)
    assert_same_rollout(following.rollout, twin.collect()[0])
    assert following.state["next_step"] == 12


def test_it_acts_with_the_snapshot_and_counts_its_steps():
    worker = started()
    policy = small_policy(seed=9)
    policy.set_weights([weight + 1 for weight in policy.get_weights()])
    part = worker.collect(take_snapshot(policy)._replace(version=7))
    rows = part.rollout.observations[:-1].reshape(-1, 4)
    expected = policy(rows).log_prob(part.rollout.actions.reshape(-1)).numpy()
    np.testing.assert_allclose(
        part.rollout.behaviour_log_probs.reshape(-1), expected, rtol=1e-5, atol=1e-6
    )
    assert (part.rollout.policy_version == 7).all()
    assert worker.steps_made() == 6


def test_the_environments_get_a_seed_of_their_own_in_every_place_and_life():
    seeds = []

    def make(num_envs, seed):
        seeds.append(seed)
        return make_envs(num_envs, seed)

    for index, life in ((0, 0), (1, 0), (1, 1), (1, 2)):
        started(RECIPE._replace(make_env=make), index, life=life)
    assert seeds[:2] == [5, 7]
    assert len(set(seeds)) == 4


def test_the_place_of_a_worker_is_named():
    place = RolloutWorker(RECIPE, 3).start(None, 0)
    assert "CartPole-v1 (2 environments from number 6, seed 5)" in place
    assert f"process {os.getpid()} on" in place


def test_another_number_of_environments_is_refused():
    recipe = RECIPE._replace(make_env=lambda num_envs, seed: make_envs(3, seed))
    with pytest.raises(ValueError, match="must make 2 environments for a worker, got 3"):
        started(recipe)


def test_a_snapshot_of_another_policy_is_refused():
    worker = started(RECIPE._replace(make_policy=functools.partial(small_policy, units=4)))
    with pytest.raises(ValueError, match="make both in the same way"):
        worker.collect(take_snapshot(small_policy()))
