"""Policies: what `make_policy` makes, versions, and the check of what a policy returns."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo

from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.execution import Execution
from trpo_tf.policies import (
    build,
    make_policy,
    policy_version,
    validate_distribution,
    zero_observations,
)

tfd = tfp.distributions
ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gym.spaces.Box(-1, 1, (2,)), tfd.Normal),
        (gym.spaces.Discrete(3), tfd.Categorical),
        (gym.spaces.MultiDiscrete([2, 3]), tfd.Categorical),
        (gym.spaces.MultiBinary(3), tfd.Bernoulli),
    ],
)
def test_which_distribution(space: gym.Space, expected: Any) -> None:
    policy = make_policy(zoo.VECTOR, space)
    distribution = policy(np.zeros((4, 3), np.float32))
    assert isinstance(getattr(distribution, "distribution", distribution), expected)
    assert distribution.batch_shape == (4,)
    validate_distribution(distribution, 4)


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["gaussian", "multi_discrete", "dict_observations"])
def test_head_of_torso(execution: Execution, dtype: str, kind: str) -> None:
    policy = zoo.make(kind, (4,), dtype)
    observations = zoo.draw_observations(kind, 5, seed=0, dtype=dtype)
    inputs = tf.nest.map_structure(tf.constant, observations)
    parts = execution.compile(
        lambda inputs: tf.nest.flatten(policy(inputs), expand_composites=True)
    )(inputs)
    expected = tf.nest.flatten(policy.head(policy.torso(observations)), expand_composites=True)
    for part, other in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-5, atol=1e-6)


def test_defaults_are_those_of_the_published_results() -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    shapes = [tuple(variable.shape) for variable in policy.trainable_variables]
    assert sorted(shapes) == sorted([(3, 64), (64,), (64, 64), (64,), (64, 2), (2,), (2,)])
    np.testing.assert_allclose(policy.head.log_std, [-0.5, -0.5])
    assert policy.torso.normalizer is not None
    assert policy.rescale_actions is False


@pytest.mark.parametrize("rescale_actions", [False, True])
def test_limited_means_and_clipped_likelihoods(rescale_actions: bool) -> None:
    """Both know the bounds in the unit of what is drawn."""
    box = gym.spaces.Box(np.float32([2, -8]), np.float32([6, 8]))
    policy = make_policy(
        zoo.VECTOR, box, mean_limit=1.5, clipped_likelihood=True, rescale_actions=rescale_actions
    )
    low, high = ([-1, -1], [1, 1]) if rescale_actions else (box.low, box.high)
    policy.head.mean.bias.assign([1e9, -1e9])
    distribution = policy(zero_observations(zoo.VECTOR, 1))
    middle, half = (np.add(low, high)) / 2, np.subtract(high, low) / 2
    np.testing.assert_allclose(distribution.mean(), [middle + [1.5, -1.5] * half], rtol=1e-6)
    assert isinstance(distribution.distribution, ClippedNormal)
    beyond = [np.float32([[high[0] + far, low[1] - far]]) for far in (1, 5)]
    assert distribution.log_prob(beyond[0]) == distribution.log_prob(beyond[1])
    assert distribution.log_prob(beyond[0]) < 0


def test_only_boxes_heed_bounds() -> None:
    policy = make_policy(zoo.VECTOR, gym.spaces.Discrete(3), mean_limit=1, clipped_likelihood=True)
    assert isinstance(policy(zero_observations(zoo.VECTOR, 1)), tfd.Categorical)


def test_it_is_built_and_carries_its_spaces() -> None:
    policy = make_policy(zoo.DICTIONARY, zoo.TORQUES, rescale_actions=True)
    assert policy.built
    assert policy.observation_space == zoo.DICTIONARY
    assert policy.action_space == zoo.TORQUES
    assert policy.rescale_actions is True


def test_seeds_and_parts_have_weights_of_their_own() -> None:
    first, again, other = (
        make_policy(zoo.VECTOR, zoo.TORQUES, seed=seed).get_weights() for seed in (3, 3, 4)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first, other, strict=True))


def test_update_statistics_moves_only_the_normaliser() -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    trained = [v.numpy() for v in policy.trainable_variables]
    rows = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    policy.update_statistics(rows, np.ones(10, np.float32))
    for before, variable in zip(trained, policy.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, variable)
    np.testing.assert_allclose(policy.torso.normalizer.mean, rows.mean(axis=0), rtol=1e-4)


def test_a_version_is_no_weight() -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    version = policy_version(policy)
    assert version.dtype == tf.int64
    assert int(version) == 0
    assert policy_version(policy) is version is policy.policy_version
    assert len(policy.variables) == len(policy.get_weights()) == 7 + 3


def test_a_version_is_attached_to_any_model() -> None:
    model = keras.Sequential([keras.layers.Dense(2)])
    version = policy_version(model)
    version.assign_add(5)
    assert int(policy_version(model)) == 5


def test_build_leaves_a_built_model_alone() -> None:
    calls: list[int] = []

    class Counting(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, observations: Any) -> Any:
            calls.append(observations.shape[0])
            return tfd.Categorical(logits=self.dense(observations))

    model = Counting()
    build(model, zoo.VECTOR)
    assert len(model.trainable_variables) == 2
    num_calls = len(calls)
    build(model, zoo.VECTOR)
    assert len(calls) == num_calls


@pytest.mark.parametrize("space", [zoo.VECTOR, zoo.DICTIONARY, zoo.TUPLE, zoo.IMAGE])
def test_zero_observations(space: gym.Space) -> None:
    zeros = zero_observations(space, 3)
    space.seed(0)
    sample = space.sample()
    tf.nest.assert_same_structure(zeros, sample)
    for part, example in zip(tf.nest.flatten(zeros), tf.nest.flatten(sample), strict=True):
        assert part.shape == (3, *np.shape(example))
        assert part.dtype == np.asarray(example).dtype
        np.testing.assert_array_equal(part, 0)


class InFloat32(tfd.AutoCompositeTensorDistribution):
    """Its divergence has a constant of its own type."""

    def __init__(self, loc: Any, name: str = "in_float32") -> None:
        parameters = dict(locals())
        self.loc = loc
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, False, parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        return {"loc": tfp.util.ParameterProperties()}

    def _kl_divergence(self, other: Any) -> Any:
        return tf.constant(0.5, tf.float32) * (self.loc - other.loc) ** 2


class MadeOfFloat32(InFloat32):
    """Takes nothing else."""

    def __init__(self, loc: Any, name: str = "made_of_float32") -> None:
        super().__init__(tf.convert_to_tensor(loc, tf.float32), name)


class Broken(InFloat32):
    """Its divergence fails in any type, and says why."""

    def _kl_divergence(self, other: Any) -> Any:
        raise ValueError("its own words")


class Unlisted(InFloat32):
    """Does not list its parameters."""

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        raise NotImplementedError

    def _batch_shape(self) -> tf.TensorShape:
        return self.loc.shape


@pytest.mark.parametrize(
    ("make_distribution", "error", "words"),
    [
        (lambda: tf.zeros([4, 2]), TypeError, "tfp.distributions.Distribution, got"),
        (lambda: tfd.Normal(tf.zeros([4, 2]), 1.0), ValueError, r"\[4\], got \[4, 2\]"),
        (lambda: tfd.Normal(tf.zeros([3]), 1.0), ValueError, r"\[4\], got \[3\]"),
        (lambda: tfd.Normal(0.0, 1.0), ValueError, r"\[4\], got \[\]"),
        (
            lambda: tfd.MixtureSameFamily(
                tfd.Categorical(logits=tf.zeros([4, 2])), tfd.Normal(tf.zeros([4, 2]), 1.0)
            ),
            TypeError,
            "no KL divergence registered",
        ),
        (
            lambda: InFloat32(tf.zeros([4])),
            TypeError,
            "KL divergence of InFloat32 must be computable with parameters of float64 too",
        ),
        (lambda: MadeOfFloat32(tf.zeros([4])), TypeError, "parameters of float64 too"),
        (lambda: Broken(tf.zeros([4])), ValueError, "^its own words$"),
        (lambda: Unlisted(tf.zeros([4])), TypeError, "Unlisted is no composite tensor"),
    ],
)
def test_what_a_policy_may_not_return(make_distribution: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        validate_distribution(make_distribution(), 4)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_what_a_policy_may_return(kind: str) -> None:
    policy = zoo.make(kind)
    observations = zoo.draw_observations(kind, 4, seed=0)
    validate_distribution(policy(tf.nest.map_structure(tf.constant, observations)), 4)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"initial_log_std": float("nan")}, ValueError, "initial_log_std must be finite, got nan"),
        ({"mean_limit": 0.0}, ValueError, "mean_limit must be > 0 and finite, got 0"),
        ({"hidden_sizes": (0,)}, ValueError, "hidden_sizes must all be >= 1"),
        ({"action_space": gym.spaces.Text(3)}, ValueError, "action space .* is not supported"),
        ({"observation_space": gym.spaces.Text(3)}, ValueError, "is not supported"),
        ({"action_space": "Discrete"}, TypeError, "must be a gymnasium.Space, got str"),
    ],
)
def test_refusals(settings: dict[str, Any], error: Any, words: str) -> None:
    arguments = {"observation_space": zoo.VECTOR, "action_space": zoo.TORQUES, **settings}
    with pytest.raises(error, match=words):
        make_policy(**arguments)
