"""Action functions: LiteRT and TensorFlow agree, weights are inputs, failures are quiet."""

from __future__ import annotations

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf import action_map, functional
from trpo_tf.policies import make_policy
from trpo_tf.samplers import acting
from trpo_tf.samplers.acting import Inference
from trpo_tf.samplers.action_noise import ActionNoise
from trpo_tf.samplers.policy_fit import fitting_distribution

tfd = tfp.distributions

ROWS = 5
VECTOR = gym.spaces.Box(-1, 1, (3,))
NESTED = gym.spaces.Dict(
    z=gym.spaces.Box(-1, 1, (2,), np.float64),
    a=gym.spaces.Tuple([gym.spaces.Discrete(3, start=1), gym.spaces.MultiBinary(2)]),
)
IMAGE = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)
BOX = gym.spaces.Box(-0.3, 2, (2,))
POLICIES = {
    "gaussian": (VECTOR, BOX, {}),
    "gaussian of a wide state": (VECTOR, BOX, {"state_dependent_std": True}),
    "rescaled gaussian": (VECTOR, BOX, {"rescale_actions": True}),
    "float64 actions": (VECTOR, gym.spaces.Box(-0.3, 2, (2,), np.float64), {}),
    "actions sent as drawn": (VECTOR, gym.spaces.Box(-np.inf, np.inf, (2,)), {}),
    "categorical": (VECTOR, gym.spaces.Discrete(4, start=-1), {}),
    "multi-categorical": (VECTOR, gym.spaces.MultiDiscrete([[2, 4]], start=[[1, 0]]), {}),
    "bernoulli": (VECTOR, gym.spaces.MultiBinary((2, 2)), {}),
    "not normalised": (VECTOR, BOX, {"normalize_observations": False}),
    "nested observations": (NESTED, BOX, {}),
    "picture": (IMAGE, gym.spaces.Discrete(3), {}),
}


class Setup:
    """A policy with weights that matter, its action function and one call's arguments."""

    def __init__(self, observation_space, action_space, settings):
        self.policy = make_policy(observation_space, action_space, seed=2, **settings)
        distribution = fitting_distribution(self.policy, observation_space, action_space, ROWS)
        self.noise = ActionNoise(distribution, seed=9)
        self.function = acting.trace_action_function(
            self.policy, observation_space, action_space, self.noise
        )
        self.action_space = action_space
        observation_space.seed(0)
        empty = gym.vector.utils.create_empty_array(observation_space, ROWS)
        samples = [observation_space.sample() for _ in range(ROWS)]
        self.observations = gym.vector.utils.concatenate(observation_space, samples, empty)
        self.leaves = tf.nest.flatten(self.observations)

    def weights(self, shift=0.0):
        snapshot = acting.take_snapshot(self.policy)
        return [
            (weight + shift).astype(weight.dtype)
            for weight in [*snapshot.parameters, *snapshot.state]
        ]

    def expected(self, weights, rows):
        """The definition: the model itself, eagerly."""
        count = len(self.policy.trainable_variables)
        distribution = functional.apply(
            self.policy, weights[:count], self.observations, weights[count:]
        )
        actions = self.noise.draw(distribution, rows)
        rescale = self.policy.rescale_actions
        return actions, action_map.to_env_actions(self.action_space, actions, rescale)


@pytest.mark.parametrize("kind", POLICIES)
def test_both_draw_what_the_model_says_with_the_weights_they_are_given(kind):
    setup = Setup(*POLICIES[kind])
    actors = [acting.LiteRTActor(setup.function), acting.TensorFlowActor(setup.function)]
    noise = setup.noise.rows(0, 3)
    assert noise.dtype == np.float32
    for shift in (0.0, 0.1):
        weights = setup.weights(shift)
        for actor in actors:
            actor.set_weights(weights)
        for rows in noise:
            actions, env_actions = setup.expected(weights, rows)
            for actor in actors:
                drawn, sent = actor.act(setup.leaves, rows)
                assert drawn.dtype == actions.dtype.as_numpy_dtype
                assert sent.dtype == setup.action_space.dtype
                np.testing.assert_allclose(drawn, actions, rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(sent, env_actions, rtol=1e-5, atol=1e-5)
                assert all(action in setup.action_space for action in sent)


def test_actions_returned_are_not_overwritten_by_the_next_call():
    setup = Setup(*POLICIES["actions sent as drawn"])
    actor = acting.LiteRTActor(setup.function)
    actor.set_weights(setup.weights())
    noise = setup.noise.rows(0, 2)
    drawn, sent = actor.act(setup.leaves, noise[0])
    copy = drawn.copy()
    sent += 1
    actor.act(setup.leaves, noise[1])
    np.testing.assert_array_equal(drawn, copy)


class Bessel(keras.Model):
    """Has an operation that LiteRT lacks."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, observations):
        return tfd.Categorical(logits=tf.math.bessel_i0(self.dense(observations)))


def function_and_example(policy, action_space):
    noise = ActionNoise(fitting_distribution(policy, VECTOR, action_space, ROWS), seed=0)
    function = acting.trace_action_function(policy, VECTOR, action_space, noise)
    snapshot = acting.take_snapshot(policy)
    leaves = [np.zeros([ROWS, 3], np.float32)]
    return function, ([*snapshot.parameters, *snapshot.state], leaves, noise.rows(0, 1)[0])


def test_what_litert_cannot_take_goes_to_tensorflow_without_a_word(capfd):
    for policy in (Bessel(), make_policy(VECTOR, gym.spaces.Discrete(4), dtype="float64")):
        function, example = function_and_example(policy, gym.spaces.Discrete(4))
        actor = acting.make_actor(function, example, Inference.AUTO)
        assert actor.inference is Inference.TENSORFLOW
        with pytest.raises(ValueError, match=r"^LiteRT cannot take this policy: [^\n]*Use infer"):
            acting.make_actor(function, example, Inference.LITERT)
    function, example = function_and_example(make_policy(VECTOR, BOX), BOX)
    assert acting.make_actor(function, example, Inference.AUTO).inference is Inference.LITERT
    assert capfd.readouterr() == ("", "")


def test_litert_is_not_taken_when_it_answers_otherwise(monkeypatch):
    function, example = function_and_example(make_policy(VECTOR, BOX), BOX)
    act = acting.LiteRTActor.act

    def shifted(self, leaves, rows):
        actions, env_actions = act(self, leaves, rows)
        return actions + 1e-3, env_actions

    monkeypatch.setattr(acting.LiteRTActor, "act", shifted)
    assert acting.make_actor(function, example, Inference.AUTO).inference is Inference.TENSORFLOW
    with pytest.raises(ValueError, match=r"actions differ by 0\.00"):
        acting.make_actor(function, example, Inference.LITERT)


def test_snapshots_are_copies():
    policy = make_policy(VECTOR, BOX)
    snapshot = acting.take_snapshot(policy)
    before = [array.copy() for array in snapshot.parameters]
    for variable in policy.variables:
        variable.assign(variable + 1)
    policy.policy_version.assign(4)
    for array, copy in zip(snapshot.parameters, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert (snapshot.version, acting.take_snapshot(policy).version) == (0, 4)
