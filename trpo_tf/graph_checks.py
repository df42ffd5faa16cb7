"""What a server cannot run, found in a graph before it is written to disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PYTHON_OPS = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
_STATELESS_RANDOM = (
    "StatelessRandom",
    "StatelessTruncated",
    "StatelessMultinomial",
    "StatelessParameterized",
    "StatelessSample",
    "StatelessShuffle",
)
_STATEFUL_RANDOM = (
    "RandomUniform",
    "RandomStandardNormal",
    "RandomPoisson",
    "RandomShuffle",
    "RandomCrop",
    "TruncatedNormal",
    "Multinomial",
    "ParameterizedTruncated",
    "StatefulRandom",
    "StatefulStandardNormal",
    "StatefulUniform",
    "StatefulTruncated",
    "RngSkip",
    "RngReadAndSkip",
)


def check_servable(signature: str, graph_def: Any, *, draws: bool) -> None:
    """Refuses a signature that loads in a server and then fails or lies there.

    The stock server has XLA disabled and answers 500 to any function compiled with
    `jit_compile=True`; Python functions do not exist in its process; stateful random ops repeat
    the same stream after every start, and no random op belongs in a deterministic signature.

    Args:
        signature: its name, for the message.
        graph_def: the `tf.compat.v1.GraphDef` behind it, with its library of functions.
        draws: whether stateless random ops may be there (they take the caller's seeds).

    Raises:
        ValueError: naming the signature, the op or function, and what to do.

    >>> import tensorflow as tf
    >>> f = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec([None]))
    >>> check_servable("serving_default", f.graph.as_graph_def(), draws=False)
    """
    for function in graph_def.library.function:
        if function.attr["_XlaMustCompile"].b:
            _refuse_xla(signature, function.signature.name)
    for node in _nodes(graph_def):
        if "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b:
            _refuse_xla(signature, node.name)
        if node.op in _PYTHON_OPS:
            raise ValueError(
                f"signature {signature!r} calls a Python function (op {node.op}, node "
                f"{node.name!r}), which no server has; write it in TensorFlow ops."
            )
        # Not by prefix: RandomGammaGrad, which differentiates a draw, draws nothing.
        if node.op == "RandomGamma" or node.op.startswith(_STATEFUL_RANDOM):
            raise ValueError(
                f"signature {signature!r} holds the stateful random op {node.op} (node "
                f"{node.name!r}): every start of a server would repeat the same stream. Draw "
                "with tf.random.stateless_* from the given seed."
            )
        if node.op.startswith(_STATELESS_RANDOM) and not draws:
            raise ValueError(
                f"signature {signature!r} must be deterministic but holds the random op "
                f"{node.op} (node {node.name!r}); the policy's distribution itself must not be "
                "drawn at random (is Dropout on?)."
            )


def _refuse_xla(signature: str, function: str) -> None:
    raise ValueError(
        f"signature {signature!r} reaches a function compiled with jit_compile=True "
        f"({function!r}), which TensorFlow Serving refuses at the first request; drop "
        "jit_compile inside the model (training compiles the whole update anyway)."
    )


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
