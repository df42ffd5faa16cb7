"""What of a SavedModel's graph a signature runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from trpo_tf import saved_graph


@pytest.fixture(scope="module")
def meta_graph(tmp_path_factory: pytest.TempPathFactory):
    """Two signatures: one draws, inside of an inner function, the other does not."""
    path = tmp_path_factory.mktemp("model")
    spec = tf.TensorSpec([None, 2], tf.float32, "x")
    module = tf.Module()
    module.weight = tf.Variable(2.0)
    inner = tf.function(lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]))
    drawing = tf.function(lambda x: {"y": inner(x) * module.weight})
    plain = tf.function(lambda x: {"y": x * module.weight})
    signatures = {
        "drawing": drawing.get_concrete_function(spec),
        "plain": plain.get_concrete_function(spec),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return saved_graph.read_meta_graph(path)


def ops(graph_def) -> set[str]:
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def test_the_initialiser_is_no_signature(meta_graph) -> None:
    assert list(saved_graph.signatures(meta_graph)) == ["drawing", "plain"]


def test_a_signature_s_graph_holds_what_it_reaches_and_nothing_else(meta_graph) -> None:
    found = {
        name: ops(saved_graph.signature_graph(meta_graph.graph_def, signature))
        for name, signature in saved_graph.signatures(meta_graph).items()
    }
    assert "StatelessRandomNormalV2" in found["drawing"]
    assert "StatelessRandomNormalV2" not in found["plain"]
    assert {"VarHandleOp", "Mul"} <= found["plain"]
    assert "RestoreV2" not in found["plain"]


def test_a_signature_s_graph_runs_alone(meta_graph) -> None:
    signature = saved_graph.signatures(meta_graph)["plain"]
    part = saved_graph.signature_graph(meta_graph.graph_def, signature)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(part, name="")
        assert graph.get_tensor_by_name(signature.outputs["y"].name).dtype == tf.float32


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        saved_graph.read_meta_graph(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is no SavedModel"):
        saved_graph.read_meta_graph(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="no graph with the tag 'serve'"):
        saved_graph.read_meta_graph(tmp_path)
