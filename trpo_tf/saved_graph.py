"""The graph of a SavedModel on disk, and the part of it that one signature runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

_SERVE = "serve"
# TensorFlow keeps how a model is initialised among its signatures; nobody can request it.
_INIT_OP = "__saved_model_init_op"


def read_meta_graph(version_dir: Path) -> Any:
    """Reads the `MetaGraphDef` that servers load, without running anything of it.

    Args:
        version_dir: the directory that holds `saved_model.pb`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no SavedModel or none with the tag `serve`.
    """
    path = version_dir / "saved_model.pb"
    try:
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is no SavedModel: {error}.") from error
    for meta_graph in model.meta_graphs:
        if _SERVE in meta_graph.meta_info_def.tags:
            return meta_graph
    raise ValueError(f"{path} holds no graph with the tag {_SERVE!r}, which servers load.")


def signatures(meta_graph: Any) -> dict[str, Any]:
    """The signatures that can be requested: name to `SignatureDef`, in the order of their names."""
    definitions = meta_graph.signature_def
    return {name: definitions[name] for name in sorted(definitions) if name != _INIT_OP}


def signature_graph(graph_def: Any, signature: Any) -> Any:
    """What a signature's outputs are computed with: its nodes and the functions that they call.

    Args:
        graph_def: the SavedModel's `GraphDef`.
        signature: a `SignatureDef` of it.

    Returns:
        A `GraphDef` of its own.

    Raises:
        ValueError: if the graph lacks a node or a function that it refers to.

    >>> f = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec([None], name="x"))
    >>> from tensorflow.core.protobuf import meta_graph_pb2
    >>> signature = meta_graph_pb2.SignatureDef()
    >>> signature.outputs["x"].name = "x:0"
    >>> [node.op for node in signature_graph(f.graph.as_graph_def(), signature).node]
    ['Placeholder']
    """
    outputs = [info.name.partition(":")[0] for info in signature.outputs.values()]
    found = tf.compat.v1.GraphDef(versions=graph_def.versions)
    nodes = {node.name: node for node in graph_def.node}
    for name in _reached(outputs, lambda name: _sources(_known(nodes, name))):
        found.node.append(nodes[name])
    functions = {function.signature.name: function for function in graph_def.library.function}
    called = [name for node in found.node for name in _called(node)]
    for name in _reached(called, lambda name: _called_in(_known(functions, name))):
        found.library.function.append(functions[name])
    return found


def _reached(start: Iterable[str], onward: Any) -> list[str]:
    """Everything that can be reached, each once, what is reached later first."""
    seen: dict[str, None] = {}
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = None
            waiting.extend(onward(name))
    return list(reversed(seen))


def _known(definitions: dict[str, Any], name: str) -> Any:
    if name not in definitions:
        raise ValueError(f"the graph refers to {name[:100]!r}, which it lacks; it is damaged.")
    return definitions[name]


def _sources(node: Any) -> list[str]:
    return [source.removeprefix("^").partition(":")[0] for source in node.input]


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        yield from (function.name for function in value.list.func)


def _called_in(function: Any) -> list[str]:
    return [name for node in function.node_def for name in _called(node)]
