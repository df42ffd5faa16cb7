"""Rollouts put together from the parts of several collectors, and the counters beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fake_collectors import (
    FakeCollector,
    die,
    finish,
    no_thread_left,
    wait_until,
)

from trpo_tf.policies import make_policy, policy_version
from trpo_tf.samplers import BackgroundSampler, Snapshot, WorkersLost
from trpo_tf.samplers.background_sampler import merge
from trpo_tf.samplers.collectors import Part
from trpo_tf.types import EpisodeStats, Rollout

BEGINNING = {"next_step": 0, "env_steps": 0}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    with no_thread_left():
        yield


@pytest.fixture(scope="module")
def policy() -> Any:
    return make_policy(gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(2), hidden_sizes=(2,))


@contextlib.contextmanager
def sampling(
    policy: Any, collectors: Sequence[FakeCollector], rollouts_ahead: int = 0, **settings: Any
) -> Iterator[BackgroundSampler]:
    policy_version(policy).assign(0)
    state = settings.pop("state", BEGINNING)
    sampler = BackgroundSampler(policy, collectors, state, rollouts_ahead, 60.0, **settings)
    try:
        yield sampler
    finally:
        sampler.close()


def learn(policy: Any) -> None:
    policy_version(policy).assign_add(1)


def part_of(first: float, num_envs: int, num_steps: int = 2) -> Part:
    """A part with Dict observations, each of whose numbers occurs once."""
    rows = first + np.arange(num_steps * num_envs, dtype=np.float32).reshape(num_steps, num_envs)
    observations = {
        "one": np.arange((num_steps + 1) * num_envs * 2).reshape(num_steps + 1, num_envs, 2) + first
    }
    flags = rows % 2 == 0
    ended = np.zeros([num_steps, num_envs], bool)
    ended[[0, 1], 0] = True
    rollout = Rollout(
        observations, rows, rows, rows, ended, ~flags & ended, flags | ended, rows.astype(np.int64)
    )
    episodes = EpisodeStats(np.array([first, first + 1]), np.array([1, 2]))
    return Part(rollout, episodes, {}, 0)


def test_parts_stand_side_by_side_in_their_order() -> None:
    parts = [part_of(0, 2), part_of(100, 1), part_of(200, 3)]
    rollout, episodes = merge(parts)
    start = 0
    for part in parts:
        end = start + part.rollout.rewards.shape[1]
        for name, array in rollout._asdict().items():
            expected = getattr(part.rollout, name)
            if name == "observations":
                array, expected = array["one"], expected["one"]
            np.testing.assert_array_equal(array[:, start:end], expected)
            assert array.dtype == expected.dtype
        start = end
    assert rollout.rewards.shape == (2, 6)
    # As one sampler of all environments gives them: by time, then by environment.
    assert episodes.returns.tolist() == [0, 100, 200, 1, 101, 201]
    assert episodes.lengths.tolist() == [1] * 3 + [2] * 3


def test_a_stand_in_for_a_lost_part_has_no_episodes() -> None:
    lost = part_of(100, 1)._replace(episodes=EpisodeStats(np.zeros(0), np.zeros(0, np.int64)))
    _, episodes = merge([part_of(0, 2), lost, part_of(200, 3)])
    assert episodes.returns.tolist() == [0, 200, 1, 201]


def counters(next_step: int, env_steps: int, lost: int = 0, dropped: int = 0) -> dict[str, int]:
    return {
        "next_step": next_step,
        "env_steps": env_steps,
        "lost_rollouts": lost,
        "dropped_rollouts": dropped,
    }


def test_a_part_alone_is_the_rollout() -> None:
    part = part_of(0, 2)
    rollout, episodes = merge([part])
    assert rollout is part.rollout
    assert episodes is part.episodes


def test_each_rollout_is_of_the_policy_as_it_is(policy: Any) -> None:
    collectors = [FakeCollector("a"), FakeCollector("b")]
    with sampling(policy, collectors) as sampler:
        for update in range(3):
            rollout, episodes = sampler.collect()
            np.testing.assert_array_equal(rollout.policy_version, [[update, update]])
            np.testing.assert_array_equal(episodes.returns, [update + 1, update + 1])
            learn(policy)
        assert sampler.state() == counters(3, 6)
    assert [collector.closed for collector in collectors] == [1, 1]
    assert (sampler.lost_rollouts, sampler.dropped_rollouts) == (0, 0)


def test_a_snapshot_is_a_copy_with_statistics_and_version(policy: Any) -> None:
    seen: list[Snapshot] = []

    def look(collector: FakeCollector, snapshot: Snapshot) -> Part:
        seen.append(snapshot)
        return finish(collector, snapshot)

    before = [np.array(weight) for weight in policy.get_weights()]
    with sampling(policy, [FakeCollector("a", look)]) as sampler:
        policy_version(policy).assign(7)
        expected = sorted(array.tobytes() for array in policy.get_weights())
        sampler.collect()
        policy.set_weights([weight + 1 for weight in policy.get_weights()])
    (snapshot,) = seen
    assert snapshot.version == 7
    found = sorted(array.tobytes() for array in [*snapshot.parameters, *snapshot.state])
    assert found == expected, "as they were, whatever the policy has become"
    policy.set_weights(before)


def test_what_was_collected_ahead_is_not_in_the_state(policy: Any) -> None:
    collector = FakeCollector()
    with sampling(policy, [collector], rollouts_ahead=3) as sampler:
        sampler.collect()
        wait_until(lambda: len(collector.versions) == 4)
        assert sampler.state() == counters(1, 1)


def test_old_parts_are_dropped_and_their_steps_counted(policy: Any) -> None:
    collector = FakeCollector()
    with sampling(policy, [collector], rollouts_ahead=2, max_lag=1) as sampler:
        sampler.collect()
        wait_until(lambda: len(collector.versions) == 3)
        for _ in range(4):
            learn(policy)
        rollout, _ = sampler.collect()
        np.testing.assert_array_equal(rollout.policy_version, 4)
        assert sampler.dropped_rollouts == 2
        assert sampler.state() == counters(4, 4, dropped=2)


def test_without_a_limit_nothing_is_too_old(policy: Any) -> None:
    collector = FakeCollector()
    with sampling(policy, [collector], rollouts_ahead=2) as sampler:
        sampler.collect()
        wait_until(lambda: len(collector.versions) == 3)
        for _ in range(100):
            learn(policy)
        rollout, _ = sampler.collect()
        np.testing.assert_array_equal(rollout.policy_version, 0)
        assert sampler.dropped_rollouts == 0


def test_lost_parts_are_counted(policy: Any) -> None:
    with sampling(policy, [FakeCollector("a", die, die, finish, die)]) as sampler:
        assert sampler.lost_rollouts == 0
        sampler.collect()
        assert sampler.lost_rollouts == 2
        sampler.collect()
        assert sampler.lost_rollouts == 3
        assert sampler.env_steps == 2


def test_a_restored_sampler_goes_on_counting(policy: Any) -> None:
    with sampling(policy, [FakeCollector("a", die, finish)]) as sampler:
        sampler.restore(counters(8, 16, lost=2, dropped=5))
        sampler.collect()
        assert (sampler.lost_rollouts, sampler.dropped_rollouts) == (3, 5)
    with sampling(policy, [FakeCollector()]) as sampler:
        for nonsense in ({"env_steps": 16}, counters(8, 16, lost=float("inf"))):
            with pytest.raises(ValueError, match="state must be what"):
                sampler.restore(nonsense)
        sampler.restore({"next_step": 8, "env_steps": 16})
        assert (sampler.lost_rollouts, sampler.dropped_rollouts) == (0, 0)


def test_the_last_death_reaches_the_learner(policy: Any) -> None:
    with (
        sampling(policy, [FakeCollector("a", die, die, die)]) as sampler,
        pytest.raises(WorkersLost, match="a was lost 3 times"),
    ):
        sampler.collect()


def test_recruits_help(policy: Any) -> None:
    counts: list[int] = []
    recruits: list[FakeCollector] = []

    def recruit(count: int) -> list[FakeCollector]:
        counts.append(count)
        added = [FakeCollector(f"recruit {count}")] if count < 3 else []
        recruits.extend(added)
        return added

    with sampling(policy, [FakeCollector()], rollouts_ahead=1, recruit=recruit) as sampler:
        for _ in range(3):
            rollout, _ = sampler.collect()
            assert rollout.rewards.shape == (1, 1), "however many help"
    assert counts == [1, 2, 3]
    assert [of.restored["next_step"] for of in recruits] == [0, 1], "from there on, as everybody"


def test_counters_go_on_where_another_sampler_left_them(policy: Any) -> None:
    collectors = [FakeCollector("a"), FakeCollector("b")]
    state = {"next_step": 50, "env_steps": 90}
    with sampling(policy, collectors) as sampler:
        sampler.restore(state)
        assert [collector.restored for collector in collectors] == [state, state]
        assert sampler.state() == counters(50, 90)
        sampler.collect()
        assert sampler.env_steps == 92
        with pytest.raises(RuntimeError, match="restore comes before the first collect"):
            sampler.restore(state)
    with sampling(policy, [FakeCollector()], state=state) as sampler:
        assert sampler.state() == counters(50, 90)


def test_environments_never_go_on_where_they_were(policy: Any) -> None:
    with sampling(policy, [FakeCollector()]) as sampler:
        sampler.collect()
        assert sampler.exact_state() is None
        assert not sampler.go_on({"ended": np.zeros(2, bool)})


def test_closing_frees_what_never_ran_and_releases_the_rest(policy: Any) -> None:
    released: list[bool] = []
    collector = FakeCollector()
    with sampling(policy, [collector], release=lambda: released.append(True)):
        pass
    assert (collector.closed, collector.lives, released) == (1, 0, [True])
    with sampling(policy, [collector], release=lambda: released.append(True)) as sampler:
        sampler.collect()
        assert released == [True]
    assert released == [True, True]
    with pytest.raises(RuntimeError, match="closed; make a new one"):
        sampler.collect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rollouts_ahead": -1}, r"rollouts_ahead must be >= 0, got -1\. 1 is typical"),
        ({"timeout": 0.0}, r"timeout must be > 0 seconds, got 0\.0\. 300 is typical"),
        ({"timeout": float("nan")}, "timeout must be > 0 seconds, got nan"),
        ({"max_lag": -1}, "max_lag must be >= 0 or None, got -1"),
    ],
)
def test_arguments_out_of_range(policy: Any, settings: dict[str, Any], message: str) -> None:
    given = {"rollouts_ahead": 1, "timeout": 300.0, **settings}
    with pytest.raises(ValueError, match=message):
        BackgroundSampler(policy, [FakeCollector()], BEGINNING, **given)


def test_a_sampler_that_was_closed_before_its_first_rollout_says_so(policy: Any) -> None:
    with sampling(policy, [FakeCollector()]) as sampler:
        sampler.close()
        with pytest.raises(RuntimeError, match="closed; make a new one"):
            sampler.collect()
