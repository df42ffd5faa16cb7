"""The tensors that a TFP distribution is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo

from trpo_tf import distribution_parameters

tfd = tfp.distributions
tfb = tfp.bijectors

LOC = np.arange(6, dtype=np.float32).reshape(3, 2)


def tanh_normal(loc: Any, _: Any) -> Any:
    base = tfd.Independent(tfd.Normal(loc, 0.5), 1)
    return tfd.TransformedDistribution(base, tfb.Chain([tfb.Tanh(), tfb.Scale(2.0)]))


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_float64(kind: str, dtype: str) -> None:
    """The same distribution: of the same class, with the same numbers."""
    distribution = zoo.make(kind, dtype=dtype)(zoo.draw_observations(kind, 3, 0, dtype))
    (wide,) = distribution_parameters.in_float64(distribution)
    assert type(wide) is type(distribution)
    assert distribution_parameters.float_type(distribution, tf.float16) == dtype
    for part, before in zip(
        tf.nest.flatten(wide, expand_composites=True),
        tf.nest.flatten(distribution, expand_composites=True),
        strict=True,
    ):
        assert part.dtype == (tf.float64 if before.dtype.is_floating else before.dtype)
        np.testing.assert_array_equal(part, before)


def test_a_distribution_without_floating_parts_has_the_type_that_is_given() -> None:
    distribution = tfd.Deterministic(tf.constant([1, 2]))
    assert distribution_parameters.float_type(distribution, tf.float64) == tf.float64


CASES = {
    "scalar scale": (
        lambda loc, _: tfd.Independent(tfd.Normal(loc, 0.5), 1),
        {"loc": LOC, "scale": np.full((3, 2), 0.5)},
        "Independent(Normal)",
    ),
    "scale of the action": (
        lambda loc, _: tfd.MultivariateNormalDiag(loc, tf.constant([1.0, 2.0])),
        {"loc": LOC, "scale_diag": np.tile([[1.0, 2.0]], (3, 1))},
        "MultivariateNormalDiag",
    ),
    "full covariance": (
        lambda loc, _: tfd.MultivariateNormalTriL(loc, tf.eye(2)),
        {"loc": LOC, "scale_tril": np.tile(np.eye(2), (3, 1, 1))},
        "MultivariateNormalTriL",
    ),
    "variable": (
        lambda loc, variable: tfd.Independent(tfd.Normal(loc, variable), 1),
        {"loc": LOC, "scale": np.tile([[1.0, 2.0]], (3, 1))},
        "Independent(Normal)",
    ),
    "categorical": (
        lambda loc, _: tfd.Categorical(logits=loc),
        {"logits": LOC},
        "Categorical",
    ),
    "categorical by probabilities": (
        lambda loc, _: tfd.Categorical(probs=tf.nn.softmax(loc)),
        {"probs": tf.nn.softmax(LOC).numpy()},
        "Categorical",
    ),
    "beta": (
        lambda loc, _: tfd.Independent(tfd.Beta(1 + loc, 2.0), 1),
        {"concentration1": 1 + LOC, "concentration0": np.full((3, 2), 2.0)},
        "Independent(Beta)",
    ),
    "blind to observations": (
        lambda loc, _: tfd.Independent(tfd.Normal(tf.constant([1.0, 2.0]), 1.0), 1),
        {"loc": np.tile([[1.0, 2.0]], (3, 1)), "scale": np.ones((3, 2))},
        "Independent(Normal)",
    ),
    "transformed": (
        tanh_normal,
        {"loc": LOC, "scale": np.full((3, 2), 0.5), "bijector_bijectors_1_scale": np.full(3, 2.0)},
        "TransformedDistribution(Independent(Normal), Chain)",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("compiled", [False, True])
def test_every_parameter_has_a_row_for_each_observation(name: str, compiled: bool) -> None:
    make, expected, class_name = CASES[name]
    variable = tf.Variable([1.0, 2.0])

    def parameters(loc: Any) -> Any:
        distribution = make(loc, variable)
        assert distribution_parameters.class_name(distribution) == class_name
        return distribution_parameters.named_parameters(distribution, tf.shape(loc)[0])

    if compiled:
        concrete = tf.function(parameters).get_concrete_function(tf.TensorSpec([None, 2]))
        assert all(out.shape[0] is None for out in concrete.structured_outputs.values())
        parameters = concrete
    got = parameters(tf.constant(LOC))
    assert set(got) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-6)


def test_mixtures_keep_the_names_of_their_parts() -> None:
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros([3, 4])),
        tfd.Independent(tfd.Normal(tf.zeros([3, 4, 2]), 1.0), 1),
    )
    got = distribution_parameters.named_parameters(mixture, 3)
    assert {key: value.shape.as_list() for key, value in got.items()} == {
        "mixture_distribution_logits": [3, 4],
        "components_distribution_loc": [3, 4, 2],
        "components_distribution_scale": [3, 4, 2],
    }


def test_float64_stays_float64() -> None:
    normal = tfd.Normal(tf.zeros([3], tf.float64), 2.0)
    got = distribution_parameters.named_parameters(normal, 3)
    assert {value.dtype for value in got.values()} == {tf.float64}


def test_a_distribution_of_ones_own_shows_its_tensors() -> None:
    class Shifted(tfd.Distribution):
        def __init__(self, loc: Any, spread: float = 0.25) -> None:
            parameters = dict(locals())
            self.loc = loc
            super().__init__(
                dtype=tf.float32,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=False,
                allow_nan_stats=True,
                parameters=parameters,
            )

    got = distribution_parameters.named_parameters(Shifted(tf.zeros([3, 2])), 3)
    assert {key: value.shape.as_list() for key, value in got.items()} == {
        "loc": [3, 2],
        "spread": [3],
    }


def test_no_parameters_is_an_error() -> None:
    class Empty(tfd.Distribution):
        def __init__(self) -> None:
            super().__init__(
                dtype=tf.float32,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=False,
                allow_nan_stats=True,
                parameters={},
            )

    with pytest.raises(ValueError, match="Empty shows no parameters"):
        distribution_parameters.named_parameters(Empty(), 3)
