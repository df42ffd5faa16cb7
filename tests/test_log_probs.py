"""Log-probabilities of a rollout: of the snapshot, in chunks for pictures."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.policies import make_policy
from trpo_tf.samplers import log_probs, take_snapshot

DISCRETE = gym.spaces.Discrete(3)
IMAGE = gym.spaces.Box(0, 255, (2, 36, 36), np.uint8)


@pytest.mark.parametrize("execution", list(Execution))
def test_values_of_a_vector_policy(execution):
    space = gym.spaces.Box(-1, 1, (3,))
    policy = make_policy(space, DISCRETE, hidden_sizes=(8,))
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(4, 2, 3)).astype(np.float32)
    actions = rng.integers(3, size=(4, 2)).astype(np.int32)
    expected = policy(observations.reshape(8, 3)).log_prob(actions.reshape(8))
    function = log_probs.log_prob_function(policy, space, execution)
    snapshot = take_snapshot(policy)
    policy.head.logits.bias.assign([5.0, 0.0, 0.0])
    values = function(snapshot, observations, actions)
    assert (values.shape, values.dtype) == ((4, 2), np.float32)
    np.testing.assert_allclose(values.reshape(8), expected, atol=1e-6)


@pytest.mark.parametrize("execution", list(Execution))
@pytest.mark.parametrize(
    "space", [gym.spaces.Box(-1, 1, (17,)), gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)]
)
def test_bits_do_not_depend_on_the_environments_beside(monkeypatch, execution, space):
    """A worker's part has the values that the whole has, whatever the number of workers."""
    monkeypatch.setattr(log_probs, "_IMAGE_CHUNK_ROWS", 4)
    policy = make_policy(space, DISCRETE)
    rng = np.random.default_rng(0)
    observations = (100 * rng.random(size=(6, 4, *space.shape))).astype(space.dtype)
    actions = rng.integers(3, size=(6, 4)).astype(np.int32)
    whole, *parts = (
        np.concatenate(
            [
                log_probs.log_prob_function(policy, space, execution)(
                    take_snapshot(policy), observations[:, columns], actions[:, columns]
                )
                for columns in np.split(np.arange(4), num_workers)
            ],
            axis=1,
        )
        for num_workers in (1, 2, 4)
    )
    for part in parts:
        np.testing.assert_array_equal(part, whole)


def test_pictures_go_through_in_chunks(monkeypatch):
    """Sizes of all tensors of the graph: none is a float copy of all pictures."""
    monkeypatch.setattr(log_probs, "_IMAGE_CHUNK_ROWS", 4)
    space = gym.spaces.Tuple([gym.spaces.Discrete(2), IMAGE])
    policy = PicturePolicy(make_policy(IMAGE, DISCRETE))
    policy.batch_sizes = []
    pictures = np.random.default_rng(0).integers(256, size=(5, 2, *IMAGE.shape), dtype=np.uint8)
    observations = (np.zeros([5, 2], np.int64), pictures)
    actions = np.zeros([5, 2], np.int32)
    function = log_probs.log_prob_function(policy, space, Execution.GRAPH)
    values = function(take_snapshot(policy), observations, actions)
    assert set(policy.batch_sizes) == {4}
    expected = policy.policy(pictures.reshape([10, *IMAGE.shape])).log_prob(tf.zeros(10, tf.int32))
    np.testing.assert_allclose(values.reshape(10), expected, atol=1e-6)


class PicturePolicy:
    """Looks at the second part of its observations and notes how many rows it is given."""

    def __init__(self, policy):
        self.policy = policy
        self.batch_sizes = []
        self.policy_version = policy.policy_version
        self.trainable_variables = policy.trainable_variables
        self.non_trainable_variables = policy.non_trainable_variables

    def stateless_call(self, parameters, state, observations):
        self.batch_sizes.append(observations[1].shape[0])
        return self.policy.stateless_call(parameters, state, observations[1])
