"""The three ways of running a function."""

from __future__ import annotations

import pytest
import tensorflow as tf

from trpo_tf.execution import Execution


@pytest.mark.parametrize("execution", list(Execution))
def test_same_result(execution: Execution) -> None:
    compiled = execution.compile(lambda x, y: (x * y, x + y))
    product, total = compiled(tf.constant(3.0), tf.constant(4.0))
    assert (float(product), float(total)) == (3 * 4, 3 + 4)


def test_only_xla_compiles() -> None:
    function = Execution.XLA.compile(lambda x: x + 1)
    assert "HloModule" in function.experimental_get_compiler_ir(tf.constant(1.0))(stage="hlo")
    seen: list[bool] = []

    def spy(x: tf.Tensor) -> tf.Tensor:
        seen.append(tf.executing_eagerly())
        return x

    for execution in (Execution.EAGER, Execution.GRAPH, Execution.XLA):
        execution.compile(spy)(tf.constant(1.0))
    assert seen == [True, False, False]


def test_eager_is_the_function_itself() -> None:
    def function(x: tf.Tensor) -> tf.Tensor:
        return x

    assert Execution.EAGER.compile(function) is function


def test_names() -> None:
    assert [Execution(name) for name in ("xla", "graph", "eager")] == list(Execution)
    with pytest.raises(ValueError, match="jit"):
        Execution("jit")
