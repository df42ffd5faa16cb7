"""How numeric functions are run: compiled by XLA, as a TensorFlow graph, or eagerly."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Execution(enum.Enum):
    """A way to run a function of tensors; results agree to rounding.

    XLA is the fastest for dense networks (measured on a CPU: a policy step on 2,048 rows takes 0.6
    of the graph's time, the critic's fit 0.3). For convolutions on a CPU it is the slowest by far,
    30 times the graph's time: take GRAPH for image observations there.

    >>> Execution("graph").compile(lambda x: x + 1)(tf.constant(1)).numpy().item()
    2
    """

    XLA = "xla"
    GRAPH = "graph"
    EAGER = "eager"

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `function` wrapped for this way of running."""
        if self is Execution.EAGER:
            return function
        # Without AutoGraph: loops are written as loops of TensorFlow, and tracing is faster.
        jit_compile = True if self is Execution.XLA else None
        return tf.function(function, jit_compile=jit_compile, autograph=False)
