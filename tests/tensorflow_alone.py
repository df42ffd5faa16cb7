"""Asks SavedModels in a process that has TensorFlow and nothing of ours, Keras' or TFP's.

As a script it blocks those packages and answers requests both through `tf.saved_model.load` and
through a session, as TensorFlow Serving loads models.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BLOCKED = ("trpo_tf", "keras", "tf_keras", "tensorflow_probability")


class Request(NamedTuple):
    """One call of one signature of one model; inputs by name."""

    model: str
    signature: str
    inputs: Mapping[str, Any]


class Answer(NamedTuple):
    """Outputs by name, through both loaders."""

    loaded: Mapping[str, Any]
    session: Mapping[str, Any]


def ask(requests: Sequence[Request], directory: Path) -> list[Answer]:
    """Answers all requests in one new process; `directory` is for the messages."""
    questions, answers = directory / "questions", directory / "answers"
    questions.write_bytes(pickle.dumps([tuple(request) for request in requests]))
    done = subprocess.run(
        [sys.executable, __file__, str(questions), str(answers)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*pair) for pair in pickle.loads(answers.read_bytes())]


def _answer_all(questions: Path, answers: Path) -> None:
    for name in BLOCKED:
        sys.modules[name] = None  # type: ignore[assignment]
    import tensorflow as tf

    requests = pickle.loads(questions.read_bytes())
    models = {path: tf.saved_model.load(path) for path in {request[0] for request in requests}}
    sessions = {path: _session(tf, path) for path in models}
    pairs = []
    for path, signature, inputs in requests:
        function = models[path].signatures[signature]
        outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        loaded = {name: value.numpy() for name, value in outputs.items()}
        pairs.append((loaded, _run(*sessions[path], signature, inputs)))
    assert all(sys.modules[name] is None for name in BLOCKED)
    answers.write_bytes(pickle.dumps(pairs))


def _session(tf: Any, path: str) -> tuple[Any, Any]:
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    return session, meta_graph.signature_def


def _run(session: Any, signatures: Any, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    definition = signatures[name]
    feed = {definition.inputs[key].name: value for key, value in inputs.items()}
    assert set(definition.inputs) == set(inputs)
    return session.run({key: info.name for key, info in definition.outputs.items()}, feed)


if __name__ == "__main__":
    _answer_all(Path(sys.argv[1]), Path(sys.argv[2]))
