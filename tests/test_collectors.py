"""Collecting in a thread: parts, signs of life, and lives that follow each other."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting_env import counting_env_makers

from trpo_tf.execution import Execution
from trpo_tf.policies import make_policy
from trpo_tf.samplers import Sampler, WorkersLost, take_snapshot
from trpo_tf.samplers.collectors import (
    Closed,
    CollectorLost,
    ThreadCollector,
    collect_part,
    describe,
    life_seed,
)

NUM_ENVS, NUM_STEPS = 2, 6
VECTOR_ENVS: dict[str, Any] = {
    "sync": gym.vector.SyncVectorEnv,
    "async": gym.vector.AsyncVectorEnv,
}


def make_env(num_envs: int = NUM_ENVS, seed: int = 0, vectorization: str = "async") -> Any:
    return VECTOR_ENVS[vectorization](counting_env_makers(num_envs))


@pytest.fixture(scope="module")
def policy() -> Any:
    env = make_env(vectorization="sync")
    return make_policy(env.single_observation_space, env.single_action_space, hidden_sizes=(4,))


def make_sampler(policy: Any, vectorization: str = "sync", **settings: Any) -> Sampler:
    env = make_env(vectorization=vectorization)
    return Sampler(env, policy, NUM_STEPS, execution=Execution.EAGER, **settings)


@contextlib.contextmanager
def collecting(
    policy: Any, vectorization: str = "sync", remake: Any = None, **settings: Any
) -> Iterator[tuple[ThreadCollector, Sampler]]:
    sampler = make_sampler(policy, vectorization, **settings)
    collector = ThreadCollector(sampler, remake)
    try:
        yield collector, sampler
    finally:
        collector.close()
        assert multiprocessing.active_children() == []


def test_parts_are_the_samplers_rollouts(policy: Any) -> None:
    twin = make_sampler(policy)
    with collecting(policy) as (collector, sampler):
        collector.prepare()
        for count in (1, 2):
            part = collector.collect(take_snapshot(policy))
            rollout, episodes = twin.collect()
            for found, expected in zip(part.rollout, rollout, strict=True):
                np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(part.episodes.returns, episodes.returns)
            assert part.state == twin.state() == sampler.state()
            assert part.env_steps == rollout.mask.sum()
            assert collector.steps_made == count * NUM_STEPS


def test_the_steps_of_a_part_are_its_own(policy: Any) -> None:
    sampler = make_sampler(policy)
    sampler.restore({"next_step": 6, "env_steps": 1000})
    part = collect_part(sampler, take_snapshot(policy))
    assert part.env_steps == part.rollout.mask.sum() < 20
    assert part.state == {"next_step": 12, "env_steps": 1000 + part.env_steps}


def test_a_part_is_of_the_given_policy(policy: Any) -> None:
    snapshot = take_snapshot(policy)._replace(version=5)
    with collecting(policy) as (collector, _):
        part = collector.collect(snapshot)
    np.testing.assert_array_equal(part.rollout.policy_version, 5)


def test_counters_go_on(policy: Any) -> None:
    with collecting(policy) as (collector, sampler):
        collector.restore({"next_step": 12, "env_steps": 20})
        assert sampler.state() == {"next_step": 12, "env_steps": 20}
        with pytest.raises(ValueError, match="state must be what"):
            collector.restore({})


def test_a_stopped_collector_ends_with_its_next_step(policy: Any) -> None:
    with collecting(policy) as (collector, _):
        collector.stop()
        with pytest.raises(Closed):
            collector.collect(take_snapshot(policy))
        assert collector.steps_made == 1


def test_without_processes_nothing_can_be_killed(policy: Any) -> None:
    with collecting(policy, remake=make_env) as (collector, _):
        assert not collector.kill()
        collector.stop()
        assert not collector.kill()


def test_without_a_way_to_make_them_anew_processes_are_killed_only_at_the_end(policy: Any) -> None:
    with collecting(policy, "async") as (collector, sampler):
        assert not collector.kill()
        assert collector.collect(take_snapshot(policy)).env_steps > 0
        collector.stop()
        assert collector.kill()
        with pytest.raises(WorkersLost, match="environment 0"):
            collector.collect(take_snapshot(policy))
        assert not any(process.is_alive() for process in sampler.env.processes)


def test_a_life_ends_with_its_processes_and_another_follows(policy: Any) -> None:
    made: list[tuple[int, int]] = []

    def remake(num_envs: int, seed: int) -> Any:
        made.append((num_envs, seed))
        return make_env(num_envs)

    with collecting(policy, "async", remake, seed=3) as (collector, sampler):
        for life in (1, 2):
            collector.prepare()
            first = collector.collect(take_snapshot(policy))
            collector.prepare()
            assert len(made) == life - 1, "it is alive"
            processes = sampler.env.processes
            assert collector.kill()
            with pytest.raises(CollectorLost, match=r"AsyncVectorEnv are gone: .*signal SIGKILL"):
                collector.collect(take_snapshot(policy))
            assert not any(process.is_alive() for process in processes)
            assert sampler.state() == first.state, "the unfinished rollout never was"
            collector.prepare()
            next_step = first.state["next_step"]
            assert made[-1] == (NUM_ENVS, life_seed(3, 0, life, next_step))
            part = collector.collect(take_snapshot(policy))
            # Places of new episodes: the environments count theirs from a reset.
            np.testing.assert_array_equal(part.rollout.observations[0, :, 1:3], 0)
            assert part.rollout.mask[0].all()


def test_a_dead_collector_has_nothing_left_to_close(policy: Any) -> None:
    with collecting(policy, "async", make_env) as (collector, sampler):
        assert collector.kill()
        with pytest.raises(CollectorLost):
            collector.collect(take_snapshot(policy))
        assert sampler.env.closed


def test_without_a_way_to_make_them_anew_a_death_is_an_error(policy: Any) -> None:
    with collecting(policy, "async") as (collector, sampler):
        sampler.env.processes[1].kill()
        sampler.env.processes[1].join()
        with pytest.raises(WorkersLost, match=r"environment 1 \(signal SIGKILL\)"):
            collector.collect(take_snapshot(policy))


def test_environments_are_described(policy: Any) -> None:
    env = gym.make_vec("CartPole-v1", num_envs=3)
    cart_pole = make_policy(env.single_observation_space, env.single_action_space)
    sampler = Sampler(env, cart_pole, 4, seed=7, first_env=6, execution=Execution.EAGER)
    expected = "CartPole-v1 (3 environments from number 6, seed 7)"
    assert describe(sampler) == expected
    assert ThreadCollector(sampler).name == f"the sampler of {expected}"
    sampler.close()


def test_each_life_has_seeds_of_its_own() -> None:
    assert life_seed(5, 8, 0, 0) == 13
    lives = [(0, 0), *((life, step) for life in range(20) for step in (64, 128))]
    seeds = {life_seed(seed, 8, *life) for seed in range(10) for life in lives}
    assert len(seeds) == 410
    assert all(0 <= seed < 2**30 for seed in seeds), "room for the environments' numbers"
