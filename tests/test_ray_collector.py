"""A worker in an actor: its life, its deaths and what it raises."""

from __future__ import annotations

import functools
import os
import re
import signal
import threading

import numpy as np
import pytest
import ray_environments
from ray_environments import RECIPE, small_policy, troubled_recipe

from trpo_tf.samplers import take_snapshot
from trpo_tf.samplers.collectors import CollectorLost
from trpo_tf.samplers.ray_collector import RayCollector, SnapshotStore

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.usefixtures("ray_cluster_of_four_cpus")


@pytest.fixture
def make_collector():
    collectors = []

    def make(recipe=RECIPE, index=0):
        collectors.append(RayCollector(recipe, index, SnapshotStore(), 0.5))
        return collectors[-1]

    yield make
    for collector in collectors:
        collector.stop()


def process(collector):
    return int(re.search(r"process (\d+)", collector.name).group(1))


def test_a_worker_collects_dies_and_is_followed_by_another(make_collector):
    collector, snapshot = make_collector(), take_snapshot(small_policy())
    collector.prepare()
    part = collector.collect(snapshot)
    assert part.rollout.rewards.shape == (6, 2)
    first = process(collector)
    collector.prepare()
    assert process(collector) == first, "a life that goes on is not begun again"

    os.kill(first, signal.SIGKILL)
    expected = (
        rf"0 \(CartPole-v1 \(2 .* 0, seed 0\), process {first} .*Ray does not tell by which sig"
    )
    with pytest.raises(CollectorLost, match=expected):
        collector.collect(snapshot)
    collector.prepare()
    assert process(collector) != first
    following = collector.collect(snapshot)
    assert following.state["next_step"] == 12, "it goes on after the last rollout"
    # A new life begins with a reset, as the masks and the places show.
    assert not np.array_equal(part.rollout.observations[-1], following.rollout.observations[0])

    assert collector.kill()
    with pytest.raises(CollectorLost):
        collector.collect(snapshot)


def test_a_dead_process_of_its_environments_is_a_death_of_the_worker(make_collector, tmp_path):
    make_env = functools.partial(ray_environments.make_dying, mark=str(tmp_path / "mark"))
    collector, snapshot = (
        make_collector(RECIPE._replace(make_env=make_env)),
        take_snapshot(small_policy()),
    )
    collector.prepare()
    with pytest.raises(CollectorLost, match="SIGKILL") as caught:
        collector.collect(snapshot)
    assert "\n" not in str(caught.value)
    collector.prepare()
    assert collector.collect(snapshot).rollout.rewards.shape == (6, 2)


def test_a_process_of_its_environments_that_hangs_is_named_and_ends(make_collector, tmp_path):
    mark = tmp_path / "mark"
    make_env = functools.partial(ray_environments.make_troubled_processes, mark=str(mark))
    collector = make_collector(RECIPE._replace(make_env=make_env, timeout=3.0))
    collector.prepare()
    expected = r"no answer for 3 s\) of seed \d+ in process"
    with pytest.raises(CollectorLost, match=expected) as caught:
        collector.collect(take_snapshot(small_policy()))
    for hung in re.findall(r"in process (\d+)", str(caught.value)):
        with pytest.raises(ProcessLookupError):
            os.kill(int(hung), 0)


def test_what_making_it_raises_arrives_too(make_collector):
    collector = make_collector(RECIPE._replace(make_env=ray_environments.fail_to_make))
    with pytest.raises(LookupError, match="no such simulator"):
        collector.prepare()


def test_steps_are_counted_while_it_hangs_and_a_kill_ends_it(make_collector, tmp_path):
    collector = make_collector(troubled_recipe(str(tmp_path / "mark")))
    collector.prepare()
    errors = []

    def collect():
        try:
            collector.collect(take_snapshot(small_policy()))
        except CollectorLost as error:
            errors.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    while collector.steps_made < 2:
        thread.join(0.05)
    assert thread.is_alive()
    assert collector.kill()
    thread.join(60)
    assert len(errors) == 1


def test_nothing_begins_after_a_stop(make_collector):
    collector = make_collector(index=3)
    collector.stop()
    with pytest.raises(CollectorLost, match=r"worker 3 \(2 environments from number 6, seed 0\)"):
        collector.prepare()


def test_a_snapshot_is_stored_once():
    store, policy = SnapshotStore(), small_policy()
    snapshot = take_snapshot(policy)
    reference = store.put(snapshot)
    assert store.put(snapshot) is reference
    assert store.put(take_snapshot(policy)) is not reference
    np.testing.assert_array_equal(ray.get(reference).parameters[0], snapshot.parameters[0])
