"""What a server cannot run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from trpo_tf.graph_checks import check_servable


def graph_of(function: Callable[[Any], Any]) -> Any:
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec([None, 2]))
    return concrete.graph.as_graph_def()


GENERATOR = tf.random.Generator.from_seed(1)

inner_xla = tf.function(lambda x: x * 2, jit_compile=True)
inner_graph = tf.function(lambda x: x * 2)


def stateless(x: Any) -> Any:
    return x + tf.random.stateless_normal(tf.shape(x), [1, 2])


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "xla": (inner_xla, "jit_compile=True"),
    "xla in a loop": (lambda x: tf.map_fn(inner_xla, x), "jit_compile=True"),
    "numpy": (lambda x: tf.numpy_function(lambda y: y, [x], tf.float32), "Python function"),
    "python": (lambda x: tf.py_function(lambda y: y, [x], tf.float32), "Python function"),
    "stateful": (lambda x: x + tf.random.normal(tf.shape(x), seed=1), "stateful random op Random"),
    "dropout": (lambda x: tf.nn.dropout(x, 0.5), "stateful random op RandomUniform"),
    "gamma": (lambda x: tf.random.gamma([3], tf.abs(x), seed=1), "stateful random op RandomGamma"),
    "poisson": (lambda x: tf.random.poisson([3], x, seed=1), "stateful random op RandomPoisson"),
    "shuffle": (lambda x: tf.random.shuffle(x, seed=1), "stateful random op RandomShuffle"),
    "generator": (lambda x: x + GENERATOR.normal([1, 2]), "stateful random op"),
    "stateless": (stateless, "must be deterministic but holds the random op StatelessRandom"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_server_cannot_run_is_refused_by_name(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match="signature 'mine'.*" + message):
        check_servable("mine", graph_of(function), draws=False)


def test_plain_ops_and_plain_inner_functions_pass() -> None:
    check_servable("mine", graph_of(lambda x: tf.map_fn(inner_graph, x)), draws=False)


def test_draws_from_given_seeds_pass_where_they_belong() -> None:
    check_servable("mine", graph_of(stateless), draws=True)
    with pytest.raises(ValueError, match="stateful"):
        check_servable("mine", graph_of(REFUSED["stateful"][0]), draws=True)
