"""Whole rollouts from a Ray cluster: bits, hangs, growth, and what is refused."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from long_forms import only
from ray_environments import RECIPE, SPACES, make_envs, small_policy, troubled_recipe

from experiments.faults import processes
from trpo_tf import KLConstraint, NaturalGradientOptimizer, ReturnScaling
from trpo_tf.advantage import Advantage
from trpo_tf.execution import Execution
from trpo_tf.failure import what_and_where
from trpo_tf.samplers import RaySampler, Sampler
from trpo_tf.trpo import TRPO
from trpo_tf.value_function import make_value_function

ray = pytest.importorskip("ray")


def learner(policy, num_envs):
    return TRPO(
        policy,
        make_value_function(SPACES[0], hidden_sizes=(8,), seed=2),
        Advantage(return_scaling=ReturnScaling(0.99, num_envs)),
        NaturalGradientOptimizer(KLConstraint(max_kl=0.01), cg_steps=3),
        execution=Execution.GRAPH,
    )


@pytest.mark.parametrize("num_workers", only([2], [1, 2, 4]))
def test_with_none_ahead_all_bits_are_those_of_one_sampler(num_workers, ray_cluster_of_four_cpus):
    """Each time other numbers of workers too, in this process: tests/test_rollout_worker.py."""
    num_envs = 4 // num_workers
    recipe = RECIPE._replace(num_envs=num_envs, num_steps=16, seed=4, execution=Execution.XLA)
    policies = small_policy(), small_policy()
    samplers = (
        Sampler(make_envs(4, 0), policies[0], 16, seed=4),
        RaySampler(policies[1], recipe, num_workers, rollouts_ahead=0),
    )
    learners = [learner(policy, 4) for policy in policies]
    for _ in range(3):
        pairs = [sampler.collect() for sampler in samplers]
        tf.nest.map_structure(np.testing.assert_array_equal, pairs[0][0], pairs[1][0])
        assert pairs[0][1].returns.tolist() == pairs[1][1].returns.tolist()
        infos = [trpo.update(rollout) for trpo, (rollout, _) in zip(learners, pairs, strict=True)]
        assert infos[0] == infos[1]
        assert infos[0].accepted
    for one, other in zip(*(policy.get_weights() for policy in policies), strict=True):
        np.testing.assert_array_equal(one, other)
    assert samplers[0].state().items() <= samplers[1].state().items()
    samplers[1].close()
    assert ray.is_initialized(), "a connection that was there before stays"


def test_a_hung_worker_is_replaced_and_all_goes_on(ray_cluster_of_four_cpus, tmp_path):
    recipe = troubled_recipe(str(tmp_path / "mark"))
    sampler = RaySampler(small_policy(), recipe, num_workers=1, timeout=5, worker_cpus=0.5)
    rollout, _ = sampler.collect()
    assert rollout.mask.shape == (6, 2)
    assert sampler.lost_rollouts == 1
    sampler.close()


def test_what_an_environment_raises_arrives_with_its_class_and_traceback(ray_cluster_of_four_cpus):
    sampler = RaySampler(small_policy(), troubled_recipe(None), num_workers=1, worker_cpus=0.5)
    with pytest.raises(ZeroDivisionError, match="the pole is gone") as caught:
        sampler.collect()
    assert "ray_environments.py" in str(caught.value)
    what, where = what_and_where(caught.value)
    assert what == "ZeroDivisionError: the pole is gone"
    assert re.search(r"ray_environments\.py:\d+, in step$", where)
    sampler.close()
    with pytest.raises(RuntimeError, match="closed"):
        sampler.collect()


def test_counters_are_taken_over_from_another_sampler(ray_cluster_of_four_cpus):
    policy = small_policy()
    twin = Sampler(make_envs(2, 0), policy, 6)
    twin.collect()
    sampler = RaySampler(policy, RECIPE, num_workers=1, rollouts_ahead=0, worker_cpus=0.5)
    sampler.restore(twin.state())
    resumed = Sampler(make_envs(2, 0), policy, 6)
    resumed.restore(twin.state())
    tf.nest.map_structure(np.testing.assert_array_equal, sampler.collect()[0], resumed.collect()[0])
    assert sampler.state().items() >= resumed.state().items()
    with pytest.raises(RuntimeError, match="before the first collect"):
        sampler.restore(twin.state())
    sampler.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_workers": 0}, "num_workers must be >= 1, got 0"),
        ({"worker_cpus": 0}, "worker_cpus must be > 0, got 0"),
        ({"num_workers": 3, "max_workers": 2}, r"max_workers must be >= num_workers \(3\)"),
        ({"num_workers": 5}, "5 workers of 1 CPUs need 5 CPUs, but the Ray cluster has 4"),
        ({"rollouts_ahead": -1}, "rollouts_ahead must be >= 0"),
        ({"timeout": 0}, "timeout must be > 0"),
        ({"max_lag": -1}, "max_lag must be >= 0"),
    ],
)
def test_arguments_out_of_range_are_refused(ray_cluster_of_four_cpus, arguments, message):
    with pytest.raises(ValueError, match=message):
        RaySampler(small_policy(), RECIPE, **arguments)


def test_a_node_that_joins_helps_and_one_that_dies_is_missed_by_nobody(run_code):
    source = """
from experiments.faults.lost_node import lose_a_node
from experiments.faults.outcome import Outcome
outcome = Outcome()
lose_a_node(0.1, outcome)
print("found", outcome.found)
"""
    done = run_code(source, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    # Ray itself writes to the same stream.
    assert [line for line in done.stdout.splitlines() if line.startswith("found")] == ["found []"]


def test_without_ray_the_sampler_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[ray\]"'):
        RaySampler(small_policy(), RECIPE)


def updates(logdir: Path) -> list[int]:
    path = logdir / "progress.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [int(row["update"]) for row in csv.DictReader(file)]


def test_training_is_interrupted_killed_and_resumed_and_leaves_no_process(repository, tmp_path):
    logdir = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    train = [sys.executable, "-m", "trpo_tf.train", f"--logdir={logdir}", "--export_dir=model"]
    settings = [
        *("--env=CartPole-v1", "--sampler=ray", "--num_envs=2", "--num_steps=16"),
        *("--num_workers=1", "--worker_cpus=0.5", "--checkpoint_every=1", "--execution=graph"),
        *("--hidden_sizes=8", "--total_steps=1000000", "--value_minibatch_size=32"),
    ]
    for arguments, number, status in (
        (settings, signal.SIGINT, 128 + signal.SIGINT),
        (["--resume"], signal.SIGKILL, -signal.SIGKILL),
    ):
        before = len(updates(logdir))
        process = subprocess.Popen(
            [*train, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while len(updates(logdir)) < before + 5:
            assert process.poll() is None
            time.sleep(0.1)
        started = processes.descendants(process.pid)
        assert len(started) >= 4, "Ray's own processes and a worker"
        # As a terminal does: everything that it runs gets Ctrl-C.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.kill()
        assert process.wait(120) == status
        assert not processes.wait_for_end(started, 120)
        rows = updates(logdir)
        assert rows == list(range(1, len(rows) + 1))
