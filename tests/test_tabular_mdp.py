"""An exact case: on a small Markov decision process linear algebra knows the truth.

A batch that lists every state and action with weights d(s) pi(a|s) makes each mean an expectation,
so nothing is left to chance.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from long_forms import covering, long
from oracles import (
    TabularMDP,
    as_float64,
    discounted_visits,
    exact_advantages,
    exact_return,
    flatten,
    log_softmax,
    random_mdp,
    return_gradient,
)

from trpo_tf import functional
from trpo_tf.batch_passes import BatchPasses
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import make_policy
from trpo_tf.types import Batch

NUM_STATES, NUM_ACTIONS = 5, 3
STATES = np.repeat(np.arange(NUM_STATES), NUM_ACTIONS)
ACTIONS = np.tile(np.arange(NUM_ACTIONS), NUM_STATES)
SEEDS = pytest.mark.parametrize("seed", range(3))


def make(seed: int, dtype: str = "float64") -> keras.Model:
    policy = make_policy(
        gym.spaces.Discrete(NUM_STATES),
        gym.spaces.Discrete(NUM_ACTIONS),
        hidden_sizes=(8,),
        dtype=dtype,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    for variable in policy.trainable_variables:
        variable.assign_add(rng.normal(scale=0.4, size=variable.shape).astype(dtype))
    return policy


def logits(policy: keras.Model) -> Any:
    return policy(tf.range(NUM_STATES, dtype=tf.int64)).logits_parameter()


def action_probs(policy: keras.Model) -> np.ndarray:
    return np.exp(log_softmax(as_float64(logits(policy))))


def every_state_and_action(mdp: TabularMDP, policy: keras.Model) -> Batch:
    probs = action_probs(policy)
    dtype = policy.compute_dtype
    return Batch(
        observations=STATES,
        actions=ACTIONS.astype(np.int32),
        advantages=exact_advantages(mdp, probs)[STATES, ACTIONS].astype(dtype),
        behaviour_log_probs=log_softmax(as_float64(logits(policy)))[STATES, ACTIONS].astype(dtype),
        weights=(discounted_visits(mdp, probs)[:, None] * probs)[STATES, ACTIONS].astype(dtype),
    )


def true_gradient(mdp: TabularMDP, policy: keras.Model) -> np.ndarray:
    variables = [variable.value for variable in policy.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = logits(policy)
    jacobian = np.concatenate(
        [
            np.reshape(part, (NUM_STATES * NUM_ACTIONS, -1))
            for part in tape.jacobian(outputs, variables)
        ],
        axis=1,
    )
    return return_gradient(mdp, outputs.numpy()).ravel() @ jacobian


@SEEDS
def test_the_truth_against_finite_differences(seed: int) -> None:
    """The oracle first: dJ/dlogits by central differences of the exact return."""
    mdp = random_mdp(seed, NUM_STATES, NUM_ACTIONS, discount=0.9)
    point = np.random.default_rng(seed).normal(size=(NUM_STATES, NUM_ACTIONS))
    differences = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        shift = np.zeros_like(point)
        shift[index] = 1e-6
        after, before = (
            exact_return(mdp, np.exp(log_softmax(point + sign * shift))) for sign in (1, -1)
        )
        differences[index] = (after - before) / 2e-6
    np.testing.assert_allclose(return_gradient(mdp, point), differences, atol=1e-7)


@SEEDS
def test_the_surrogates_gradient_is_the_policy_gradient(seed: int) -> None:
    mdp = random_mdp(seed, NUM_STATES, NUM_ACTIONS, discount=0.9)
    policy = make(seed)
    batch = Batch(
        *(
            None if field is None else tf.constant(field)
            for field in every_state_and_action(mdp, policy)
        )
    )
    passes = BatchPasses(
        lambda values, observations: functional.apply(policy, values, observations), batch, None
    )
    scale = passes.set_coefficients(batch.advantages)
    mean_gradient = scale.numpy() * passes.gradient(functional.parameters(policy)).numpy()
    np.testing.assert_allclose(
        mean_gradient / (1 - mdp.discount), true_gradient(mdp, policy), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize(("seed", "execution"), covering(range(3), list(Execution)))
def test_a_heavily_damped_step_follows_the_policy_gradient(seed: int, execution: Execution) -> None:
    mdp = random_mdp(seed, NUM_STATES, NUM_ACTIONS, discount=0.9)
    policy = make(seed)
    gradient, before = true_gradient(mdp, policy), flatten(policy.trainable_variables)
    optimizer = NaturalGradientOptimizer(KLConstraint(1e-4), damping=1e9, execution=execution)
    assert bool(optimizer.step(policy, every_state_and_action(mdp, policy)).accepted)
    step = flatten(policy.trainable_variables) - before
    cosine = step @ gradient / np.linalg.norm(step) / np.linalg.norm(gradient)
    np.testing.assert_allclose(cosine, 1, rtol=1e-8)


@pytest.mark.parametrize(
    ("seed", "dtype"),
    [(0, "float32"), (1, "float64"), *long([(0, "float64"), (2, "float64")])],
)
def test_the_exact_return_rises_with_every_update(seed: int, dtype: str) -> None:
    mdp = random_mdp(seed, NUM_STATES, NUM_ACTIONS, discount=0.9)
    policy = make(seed, dtype)
    optimizer = NaturalGradientOptimizer(KLConstraint(1e-3), damping=1e-3)
    returns = [exact_return(mdp, action_probs(policy))]
    for _ in range(50):
        info = optimizer.step(policy, every_state_and_action(mdp, policy))
        assert bool(info.accepted)
        returns.append(exact_return(mdp, action_probs(policy)))
    assert np.all(np.diff(returns) > 0)
    assert returns[-1] > returns[0] + 0.3 * (best_return(mdp) - returns[0])


def test_it_ends_at_the_best_policy() -> None:
    mdp = random_mdp(0, NUM_STATES, NUM_ACTIONS, discount=0.9)
    policy = make(0)
    optimizer = NaturalGradientOptimizer(KLConstraint(0.05), damping=1e-3)
    for _ in range(60):
        optimizer.step(policy, every_state_and_action(mdp, policy))
    start = exact_return(mdp, action_probs(make(0)))
    end, best = exact_return(mdp, action_probs(policy)), best_return(mdp)
    assert best - end < 0.02 * (best - start)


def best_return(mdp: TabularMDP) -> float:
    """Value iteration."""
    values = np.zeros(NUM_STATES)
    for _ in range(1000):
        values = np.max(mdp.rewards + mdp.discount * mdp.transitions @ values, axis=1)
    return float(mdp.initial @ values)
