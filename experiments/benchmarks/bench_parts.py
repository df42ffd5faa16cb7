"""Times of the parts: conjugate gradients, Fisher product, line search, update, GAE, sampler step.

python -m pytest --dist=no experiments/benchmarks/bench_parts.py --benchmark-autosave
python -m pytest --dist=no experiments/benchmarks/bench_parts.py --benchmark-compare

Walker2d's sizes: 2,048 rows of 17 numbers, 6 actions, 64×64 networks, compiled by XLA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import trpo_tf
from trpo_tf import functional
from trpo_tf.advantage import generalized_advantages
from trpo_tf.batch_passes import BatchPasses
from trpo_tf.execution import Execution

NUM_ENVS, NUM_STEPS = 16, 128
NUM_ROWS = NUM_ENVS * NUM_STEPS


@pytest.fixture(scope="module")
def sampler() -> Any:
    env = trpo_tf.make_vector_env("Walker2d", NUM_ENVS, "sync")
    policy = trpo_tf.make_policy(env.single_observation_space, env.single_action_space)
    sampler = trpo_tf.Sampler(env, policy, NUM_STEPS)
    sampler.collect()
    yield sampler
    sampler.close()


@pytest.fixture(scope="module")
def rollout(sampler: Any) -> trpo_tf.Rollout:
    return sampler.collect()[0]


@pytest.fixture(scope="module")
def batch(rollout: trpo_tf.Rollout) -> trpo_tf.Batch:
    advantages = np.random.default_rng(0).normal(size=NUM_ROWS).astype(np.float32)
    actions = rollout.actions.reshape(NUM_ROWS, -1)
    ones = tf.ones([NUM_ROWS])
    return trpo_tf.Batch(
        observations=tf.constant(rollout.observations[:-1].reshape(NUM_ROWS, -1), tf.float32),
        actions=tf.constant(actions),
        behaviour_log_probs=tf.constant(rollout.behaviour_log_probs.reshape(-1)),
        advantages=tf.constant(advantages),
        weights=ones,
        importance_weights=ones,
    )


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """The compiled function on these arguments; returns when the result is there."""
    run = Execution.XLA.compile(function)

    def wait() -> Any:
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), run(*arguments))

    wait()
    return wait


def passes(policy: Any, batch: trpo_tf.Batch) -> BatchPasses:
    state = functional.state(policy)
    found = BatchPasses(
        lambda values, rows: functional.apply(policy, values, rows, state), batch, chunk_rows=None
    )
    found.set_coefficients(batch.advantages)
    return found


def test_conjugate_gradient(benchmark: Any) -> None:
    """Ten iterations on a matrix of the policy's size, the product next to nothing."""
    diagonal = tf.linspace(0.1, 1.0, 5708)

    def solve(rhs: Any) -> Any:
        return trpo_tf.conjugate_gradient(lambda vector: diagonal * vector, rhs, 10, 0.0)

    benchmark(compiled(solve, tf.ones([5708])))


def test_fisher_product(benchmark: Any, sampler: Any, batch: trpo_tf.Batch) -> None:
    policy = sampler.policy
    start = functional.parameters(policy)
    vector = tf.concat([tf.reshape(part, [-1]) for part in start], 0)

    def product(vector: Any, batch: trpo_tf.Batch) -> Any:
        return passes(policy, batch).fisher(functional.parameters(policy), 1.0)(vector)

    benchmark(compiled(product, vector, batch))


def test_line_search(benchmark: Any, sampler: Any, batch: trpo_tf.Batch) -> None:
    """Along the gradient, from a step that is far too long."""
    policy = sampler.policy

    def search(batch: trpo_tf.Batch) -> Any:
        rows, start = passes(policy, batch), functional.parameters(policy)
        old, direction = rows.old(start), rows.gradient(start)
        return trpo_tf.FillTrustRegion()(
            lambda step: rows.measure(start, direction, step, old),
            tf.constant(100.0),
            tf.constant(0.01),
        )

    benchmark(compiled(search, batch))


def test_policy_step(benchmark: Any, sampler: Any, batch: trpo_tf.Batch) -> None:
    optimizer = trpo_tf.NaturalGradientOptimizer(trpo_tf.KLConstraint())
    max_kl = tf.constant(0.01)

    def propose(batch: trpo_tf.Batch) -> Any:
        return optimizer.propose(sampler.policy, batch, max_kl)

    benchmark(compiled(propose, batch))


def test_value_regression(benchmark: Any, sampler: Any, batch: trpo_tf.Batch) -> None:
    critic = trpo_tf.make_value_function(sampler.env.single_observation_space)
    critic(batch.observations[:1])
    regression = trpo_tf.ValueRegression()

    def fit() -> Any:
        return regression.fit(critic, batch.observations, batch.advantages).numpy()

    fit()
    benchmark(fit)


def test_whole_update(benchmark: Any, sampler: Any, rollout: trpo_tf.Rollout) -> None:
    critic = trpo_tf.make_value_function(sampler.env.single_observation_space)
    trpo = trpo_tf.TRPO(
        sampler.policy,
        critic,
        trpo_tf.Advantage(),
        trpo_tf.NaturalGradientOptimizer(trpo_tf.KLConstraint()),
    )
    before = sampler.policy.get_weights()
    version = trpo.policy_version.numpy()

    def set_back() -> None:
        sampler.policy.set_weights(before)
        trpo.policy_version.assign(version)

    trpo.update(rollout)
    benchmark.pedantic(trpo.update, args=(rollout,), setup=set_back, rounds=30)
    set_back()


def test_advantages(benchmark: Any, rollout: trpo_tf.Rollout) -> None:
    values = tf.zeros([NUM_STEPS + 1, NUM_ENVS])
    ones = tf.ones([NUM_STEPS, NUM_ENVS])

    def estimate(rewards: Any, values: Any, terminated: Any, truncated: Any, mask: Any) -> Any:
        return generalized_advantages(
            rewards, values, terminated, truncated, mask, 0.99, 0.95, ones, ones
        )

    rows = (rollout.rewards, values, rollout.terminated, rollout.truncated, rollout.mask)
    benchmark(compiled(estimate, *map(tf.convert_to_tensor, rows)))


def test_sampler_step(benchmark: Any, sampler: Any) -> None:
    """A whole rollout: divide by its 128 steps of 16 environments."""
    benchmark.pedantic(sampler.collect, rounds=8)
