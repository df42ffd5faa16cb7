"""Noise of a rollout: the same numbers however the steps are cut, and those of an export."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf import draws, random
from trpo_tf.samplers.action_noise import ActionNoise

tfd = tfp.distributions

DISTRIBUTIONS = {
    "normal": tfd.Independent(tfd.Normal(tf.zeros([3, 2]), 1.0), 1),
    "float64": tfd.Independent(tfd.Normal(tf.zeros([3, 2], tf.float64), 1.0), 1),
    "categorical": tfd.Categorical(logits=tf.zeros([3, 4])),
    "float64 categorical": tfd.Categorical(logits=tf.zeros([3, 4], tf.float64)),
    "bernoulli": tfd.Independent(tfd.Bernoulli(logits=tf.zeros([3, 2])), 1),
    "own": tfd.Independent(tfd.Beta(tf.ones([3, 2]), 1.0), 1),
}


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_draws_are_those_of_each_rows_own_seed(kind):
    distribution = DISTRIBUTIONS[kind]
    noise = ActionNoise(distribution, seed=5)
    rows = noise.rows(10, 4)
    assert rows.shape == (4, *noise.row_spec.shape)
    assert rows.dtype == noise.row_spec.dtype.as_numpy_dtype
    for index, row in enumerate(rows):
        seeds = random.step_seeds(5, 0, 3, 10 + index, 1)[0]
        expected = draws.draw_rows(distribution, seeds)
        np.testing.assert_array_equal(noise.draw(distribution, row), expected)
    np.testing.assert_array_equal(noise.rows(12, 2), rows[2:])


def test_the_seed_matters():
    distribution = DISTRIBUTIONS["normal"]
    assert (
        ActionNoise(distribution, 1).rows(0, 2) != ActionNoise(distribution, 2).rows(0, 2)
    ).all()
