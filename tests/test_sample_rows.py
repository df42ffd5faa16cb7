"""Any distribution row by row: the row's own parameters and seed decide, in every batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from long_forms import covering, only

from trpo_tf.execution import Execution
from trpo_tf.random import step_seeds
from trpo_tf.sample_rows import sample_rows

tfd, tfb = tfp.distributions, tfp.bijectors

NUM_ACTIONS = 3
SCALE = tf.constant([0.5, 1.0, 2.0])
VARIABLE = tf.Variable([0.5, 1.0, 2.0])


def mixture(x: Any) -> Any:
    components = tfd.MultivariateNormalDiag(tf.stack([x, x + 1, x - 1], axis=1), SCALE)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=x), components)


def mixture_of_shared_weights(x: Any) -> Any:
    components = tfd.MultivariateNormalDiag(tf.stack([x, x + 1, x - 1], axis=1), SCALE)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=SCALE), components)


# Of x [N, 3], by operations that round alike in every batch. With N = 3 the shared parameters
# look like rows.
KINDS: dict[str, Callable[[Any], Any]] = {
    "squashed_normals": lambda x: tfd.TransformedDistribution(
        tfd.Independent(tfd.Normal(x, SCALE), 1), tfb.Tanh()
    ),
    "squashed_inside": lambda x: tfd.Independent(
        tfd.TransformedDistribution(tfd.Normal(x, SCALE), tfb.Tanh()), 1
    ),
    "shifted_by_rows": lambda x: tfd.TransformedDistribution(
        tfd.Independent(tfd.Normal(tf.zeros([NUM_ACTIONS]), SCALE), 1),
        tfb.Chain([tfb.Shift(x), tfb.Tanh()]),
    ),
    "betas": lambda x: tfd.Independent(tfd.Beta(x * x + 1, SCALE), 1),
    "one_beta": lambda x: tfd.Beta(x[:, 0] ** 2 + 1, x[:, 1] ** 2 + 1),
    "full_normal": lambda x: tfd.MultivariateNormalTriL(
        x, tf.linalg.diag(x * x + 0.5) + tf.constant([[0, 0, 0], [1, 0, 0], [1, 1, 0.0]])
    ),
    "full_normal_of_shared_scale": lambda x: tfd.MultivariateNormalTriL(x, tf.linalg.diag(SCALE)),
    "variable_scale": lambda x: tfd.MultivariateNormalDiag(x, VARIABLE),
    "mixture": mixture,
    "mixture_of_shared_weights": mixture_of_shared_weights,
    "poissons": lambda x: tfd.Independent(tfd.Poisson(x * x + 0.5), 1),
    "truncated_normals": lambda x: tfd.Independent(tfd.TruncatedNormal(x, SCALE, -1.0, 1.0), 1),
    "students": lambda x: tfd.Independent(tfd.StudentT(5.0, x, SCALE), 1),
    "dirichlet": lambda x: tfd.Dirichlet(x * x + 0.5),
    "known_too": lambda x: tfd.Categorical(logits=x),
}


def rows(num_rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    values = np.random.default_rng(0).normal(size=(num_rows, NUM_ACTIONS)).astype(np.float32)
    return tf.constant(values), tf.reshape(step_seeds(9, 0, num_rows, 0, 1), [num_rows, 2])


@pytest.mark.parametrize("name", KINDS)
def test_each_row_is_the_sample_of_its_own_distribution(name: str) -> None:
    num_rows = NUM_ACTIONS
    values, seeds = rows(num_rows)
    distribution = KINDS[name](values)
    actions = sample_rows(distribution, seeds)
    assert actions.dtype == distribution.dtype
    assert actions.shape == [num_rows, *distribution.event_shape]
    for row in range(num_rows):
        alone = KINDS[name](values[row : row + 1]).sample(seed=seeds[row])
        np.testing.assert_array_equal(actions[row], alone[0])


@pytest.mark.parametrize("name", KINDS)
def test_a_row_does_not_know_its_batch(name: str) -> None:
    values, seeds = rows(5)
    together = sample_rows(KINDS[name](values), seeds).numpy()
    order = [3, 0, 4]
    reordered = sample_rows(KINDS[name](tf.gather(values, order)), tf.gather(seeds, order))
    np.testing.assert_array_equal(reordered, together[order])


@pytest.mark.parametrize(("name", "num_rows"), covering(KINDS, [3, None]))
def test_the_same_in_a_graph(name: str, num_rows: int | None) -> None:
    draw = tf.function(
        lambda x, s: sample_rows(KINDS[name](x), s),
        input_signature=[
            tf.TensorSpec([num_rows, NUM_ACTIONS]),
            tf.TensorSpec([num_rows, 2], tf.int32),
        ],
    )
    for size in (3,) if num_rows else (5, 1):
        values, seeds = rows(size)
        expected = sample_rows(KINDS[name](values), seeds)
        np.testing.assert_allclose(draw(values, seeds), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    only(
        ("squashed_normals", "full_normal"),
        ["squashed_normals", "truncated_normals", "mixture", "full_normal"],
    ),
)
def test_under_xla_a_row_does_not_know_its_batch_either(name: str) -> None:
    draw = Execution.XLA.compile(lambda x, s: sample_rows(KINDS[name](x), s))
    values, seeds = rows(6)
    together = draw(values, seeds).numpy()
    order = [4, 0, 5]
    some = draw(tf.gather(values, order), tf.gather(seeds, order))
    np.testing.assert_allclose(some, together[order], rtol=1e-5, atol=1e-6)
    assert len(np.unique(together.ravel())) > 6


def test_no_rows() -> None:
    values, seeds = rows(0)
    assert sample_rows(KINDS["betas"](values), seeds).shape == (0, NUM_ACTIONS)


def test_rows_have_the_law_of_the_distribution() -> None:
    count = 4000
    seeds = tf.reshape(step_seeds(2, 0, count, 0, 1), [count, 2])
    draw = tf.function(sample_rows)
    alpha = tf.fill([count, 2], 2.0)
    actions = draw(tfd.Independent(tfd.Beta(alpha, 3.0), 1), seeds).numpy()
    mean, variance = 2 / 5, 2 * 3 / (5**2 * 6)
    assert np.abs(actions.mean(axis=0) - mean).max() < 4 * math.sqrt(variance / count)
    np.testing.assert_allclose(actions.var(axis=0), variance, rtol=0.1)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 4 / math.sqrt(count)
    assert abs(np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1]) < 4 / math.sqrt(count)


def test_the_same_seed_and_parameters_give_the_same_action() -> None:
    values = tf.repeat(rows(1)[0], 3, axis=0)
    actions = sample_rows(KINDS["mixture"](values), tf.constant([[1, 2], [1, 2], [1, 3]])).numpy()
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[0] != actions[2]).all()


class Whole(tfd.Distribution):
    """Not a composite tensor."""

    def __init__(self, loc: Any) -> None:
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, False)
        self.loc = loc


class Unlisted(tfd.AutoCompositeTensorDistribution):
    """A composite tensor but for the list of its parameters. Its rows come last: [A, N]."""

    def __init__(self, loc: Any, name: str = "unlisted") -> None:
        parameters = dict(locals())
        self.loc = tf.convert_to_tensor(loc)
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, False, parameters, name=name)

    def _batch_shape(self) -> tf.TensorShape:
        return self.loc.shape[1:]

    def _event_shape(self) -> tf.TensorShape:
        return self.loc.shape[:1]


class RowsLast(Unlisted):
    """With the list."""

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        return {"loc": tfp.util.ParameterProperties()}


@pytest.mark.parametrize("kind", [Whole, Unlisted])
def test_what_cannot_be_taken_apart(kind: Callable[[Any], Any]) -> None:
    message = f"{kind.__name__} cannot be taken apart into tensors, expected a composite tensor"
    with pytest.raises(TypeError, match=message):
        sample_rows(kind(tf.zeros([2, 3])), rows(3)[1])


@pytest.mark.parametrize("num_actions", [2, 3])
def test_rows_that_cannot_be_told_apart(num_actions: int) -> None:
    distribution = RowsLast(tf.zeros([num_actions, 3]))
    message = r"parameters of RowsLast do not show which of them belong to which row of its batch"
    with pytest.raises(ValueError, match=message):
        sample_rows(distribution, rows(3)[1])
