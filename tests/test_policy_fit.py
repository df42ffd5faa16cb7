"""Policies that do not belong to an environment are refused before the first step."""

from __future__ import annotations

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf.policies import make_policy
from trpo_tf.samplers.policy_fit import fitting_distribution

tfd = tfp.distributions

VECTOR = gym.spaces.Box(-1, 1, (3,))
BOX = gym.spaces.Box(-1, 1, (2,))
DISCRETE = gym.spaces.Discrete(4)


class OwnPolicy(keras.Model):
    """A user's model without spaces."""

    def __init__(self, to_output):
        super().__init__()
        self.dense = keras.layers.Dense(4)
        self.to_output = to_output

    def call(self, observations):
        return self.to_output(self.dense(observations))


def test_an_own_model_is_built_and_its_distribution_given():
    policy = OwnPolicy(lambda outputs: tfd.Categorical(logits=outputs))
    distribution = fitting_distribution(policy, VECTOR, DISCRETE, 5)
    assert distribution.batch_shape == [5]
    assert policy.trainable_variables[0].shape == (3, 4)


@pytest.mark.parametrize(
    ("to_output", "action_space", "error", "words"),
    [
        (lambda x: x, DISCRETE, TypeError, "must return a tfp.distributions.Distribution"),
        (lambda x: tfd.Normal(x, 1.0), DISCRETE, ValueError, "one distribution for each"),
        (
            lambda x: tfd.Independent(tfd.Normal(x, 1.0), 1),
            BOX,
            ValueError,
            r"actions of shape \[4\], but those of Box.* have shape \[2\]",
        ),
        (
            lambda x: tfd.OneHotCategorical(logits=x),
            DISCRETE,
            ValueError,
            r"actions of shape \[4\], but those of Discrete\(4\) have shape \[\]",
        ),
        (
            lambda x: tfd.Independent(tfd.StudentT(4.0, x[:, :2], 1.0), 1),
            BOX,
            TypeError,
            "no KL divergence",
        ),
        (
            lambda x: tfd.Categorical(logits=x),
            gym.spaces.Text(5),
            ValueError,
            "action space .* is not supported",
        ),
    ],
)
def test_unfit_models_are_refused(to_output, action_space, error, words):
    with pytest.raises(error, match=words):
        fitting_distribution(OwnPolicy(to_output), VECTOR, action_space, 5)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"policy must be a keras.Model, got function"):
        fitting_distribution(lambda observations: None, VECTOR, BOX, 5)


IMAGE = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)
NESTED = gym.spaces.Dict(a=VECTOR, b=gym.spaces.Tuple([gym.spaces.Discrete(2)]))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ((VECTOR, BOX), (gym.spaces.Box(-1, 1, (4,)), BOX)),
        ((VECTOR, BOX), (IMAGE, BOX)),
        ((VECTOR, BOX), (NESTED, BOX)),
        ((NESTED, BOX), (gym.spaces.Dict(a=VECTOR), BOX)),
        ((VECTOR, BOX), (VECTOR, gym.spaces.Box(-1, 1, (3,)))),
        ((VECTOR, BOX), (VECTOR, gym.spaces.Box(-2, 2, (2,)))),
        ((VECTOR, BOX), (VECTOR, DISCRETE)),
        ((VECTOR, DISCRETE), (VECTOR, gym.spaces.Discrete(4, start=1))),
        ((VECTOR, DISCRETE), (VECTOR, gym.spaces.Discrete(3))),
    ],
)
def test_spaces_of_another_environment_are_refused(own, other):
    kind = "observation" if own[0] != other[0] else "action"
    with pytest.raises(ValueError, match=f"the policy's {kind} space is .*, but the environment's"):
        fitting_distribution(make_policy(*own), *other, 2)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ((NESTED, BOX), (NESTED, BOX)),
        ((VECTOR, BOX), (gym.spaces.Box(-9, 9, (3,), np.float64), BOX)),
        ((VECTOR, BOX), (VECTOR, gym.spaces.Box(-1, 1, (2,), np.float64))),
    ],
)
def test_floats_of_another_width_and_bounds_of_observations_do_not_matter(own, other):
    distribution = fitting_distribution(make_policy(*own), *other, 2)
    assert distribution.event_shape == (2,)
    assert tf.reduce_all(tf.math.is_finite(distribution.mean()))
