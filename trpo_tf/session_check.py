"""Asks a SavedModel as a server does, in a process that has TensorFlow and nothing else.

As a script, `python -P session_check.py <version directory>`, it makes this library, Keras,
tf_keras and TensorFlow Probability impossible to import, loads the model into a session, and prints
a JSON list of what went wrong: `{"check", "signature", "difference"}` each, none for a good model.
`verification` starts it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BLOCKED = ("trpo_tf", "keras", "tf_keras", "tensorflow_probability")
# Outputs may differ by this much, as a part of the largest number in an output of the whole batch,
# or of 1: a row near 0 is rounded like those beside it.
TOLERANCE = 1e-5
_WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
_SHOWN = 300


def main(version_dir: str) -> None:
    """Runs all checks on a version and prints the failures."""
    for name in BLOCKED:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.stdout.write(json.dumps(list(failures(Path(version_dir)))) + "\n")


def failures(version_dir: Path) -> Iterator[dict[str, str]]:
    """What a server would stumble over; a model that cannot be loaded is asked nothing."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        try:
            meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version_dir))
            calls = list(_recorded_calls(tf, version_dir))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            yield _failure("load", "", _telling_line(error))
            return
        for name, definition in meta_graph.signature_def.items():
            if name.startswith("__"):
                continue
            own = [call for call in calls if call[0] == name]
            model = Signature(tf, session, name, definition)
            yield from _checked_signature(model, own)


class Signature:
    """One signature in a session; no variables of its own."""

    def __init__(self, tf: Any, session: Any, name: str, definition: Any) -> None:
        self.name = name
        self.float_inputs = [
            key for key, info in definition.inputs.items() if tf.as_dtype(info.dtype).is_floating
        ]
        self.errors = (tf.errors.OpError, RuntimeError, TypeError, ValueError, KeyError)
        self._session = session
        self._definition = definition

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Runs it: inputs by name to outputs by name."""
        given = {self._definition.inputs[key].name: value for key, value in inputs.items()}
        fetched = {key: info.name for key, info in self._definition.outputs.items()}
        return dict(self._session.run(fetched, given))


def _recorded_calls(tf: Any, version_dir: Path) -> Iterator[tuple[str, dict, dict]]:
    """Signature, inputs and the exporter's own answer (empty if none was kept) of each request."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = version_dir / _WARMUP_FILE
    if not path.is_file():
        return
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        yield (
            log.request.model_spec.signature_name,
            {name: tf.make_ndarray(proto) for name, proto in log.request.inputs.items()},
            {name: tf.make_ndarray(proto) for name, proto in log.response.outputs.items()},
        )


def _checked_signature(model: Signature, calls: list[tuple[str, dict, dict]]) -> Iterator[dict]:
    sizes = {_num_rows(inputs) for _, inputs, _ in calls}
    if len(sizes) < 2:
        had = f"requests of {sorted(sizes)} rows" if sizes else "no request"
        yield _failure("warm-up", model.name, f"two batch sizes are needed, the file has {had}")
    for _, inputs, expected in calls:
        try:
            outputs = model(inputs)
        except model.errors as error:
            yield _failure("run", model.name, f"{_num_rows(inputs)} rows: {_telling_line(error)}")
            return
        found = [*_wrong_batches(outputs, _num_rows(inputs)), *_wrong_answers(outputs, expected)]
        if found:
            yield from (_failure(check, model.name, difference) for check, difference in found)
            return
    if not calls:
        return
    largest = max((inputs for _, inputs, _ in calls), key=_num_rows)
    yield from _dependent_rows(model, largest)
    yield from _accepted_nan(model, largest)


def _wrong_batches(outputs: Mapping[str, Any], num_rows: int) -> Iterator[tuple[str, str]]:
    for name, value in outputs.items():
        if not value.shape or len(value) != num_rows:
            yield "batch", f"{num_rows} rows in, output {name!r} has shape {list(value.shape)}"


def _wrong_answers(
    outputs: Mapping[str, Any], expected: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    import numpy as np

    for name, value in outputs.items():
        if np.isnan(value.astype(np.float64)).any():
            yield "finite", f"output {name!r} is NaN for finite observations"
        elif expected and name not in expected:
            yield "answers", f"the policy has no {name!r}"
        elif expected:
            texts = _differences(name, value, expected[name], _allowed(expected[name]))
            yield from (("answers", text) for text in texts)
    for name in expected:
        if name not in outputs:
            yield "answers", f"the model has no output {name!r}"


def _allowed(batch: Any) -> float:
    """How much outputs of a batch may differ, whichever row."""
    import numpy as np

    magnitude = np.abs(batch.astype(np.float64))
    return TOLERANCE * float(magnitude[np.isfinite(magnitude)].max(initial=1.0))


def _differences(name: str, value: Any, expected: Any, allowed: float) -> Iterator[str]:
    import numpy as np

    if value.shape != expected.shape or value.dtype != expected.dtype:
        yield (
            f"output {name!r} is {value.dtype} of shape {list(value.shape)}, the policy's "
            f"{expected.dtype} of shape {list(expected.shape)}"
        )
        return
    got, wanted = value.astype(np.float64), expected.astype(np.float64)
    # Masked actions have log-probability −inf on both sides.
    with np.errstate(invalid="ignore"):
        distance = np.where(got == wanted, 0.0, np.abs(got - wanted))
    if not (distance <= allowed).all():
        index = np.unravel_index(np.argmax(distance), distance.shape)
        yield (
            f"output {name!r} differs from the policy's by up to {distance[index]:.3g} (at "
            f"{[int(i) for i in index]}: {got[index]:.6g} instead of {wanted[index]:.6g}); "
            f"{allowed:.3g} is allowed"
        )


def _dependent_rows(model: Signature, inputs: Mapping[str, Any]) -> Iterator[dict]:
    """A row must get the same answer alone, and in the reversed batch, as among the others."""
    together = model(inputs)
    last = _num_rows(inputs) - 1
    backwards = model({name: value[::-1] for name, value in inputs.items()})
    alone = [
        model({name: value[row : row + 1] for name, value in inputs.items()})
        for row in range(last + 1)
    ]
    for name, value in together.items():
        others = {
            "alone": [outputs[name][0] for outputs in alone],
            "in the reversed batch": backwards[name][::-1],
        }
        for where, rows in others.items():
            for row in range(last + 1):
                for text in _differences(name, rows[row], value[row], _allowed(value)):
                    yield _failure("rows", model.name, f"row {row} {where}: {_as_rows(text)}")
                    return


def _accepted_nan(model: Signature, inputs: Mapping[str, Any]) -> Iterator[dict]:
    for name in model.float_inputs:
        spoilt = {**inputs, name: inputs[name].copy()}
        if not spoilt[name].size:
            continue
        spoilt[name].flat[0] = float("nan")
        try:
            model(spoilt)
        except model.errors:
            continue
        yield _failure("finite", model.name, f"NaN in input {name!r} is answered, not refused")


def _num_rows(inputs: Mapping[str, Any]) -> int:
    return len(next(iter(inputs.values())))


def _as_rows(text: str) -> str:
    return text.replace("the policy's", "what it is among the others")


def _failure(check: str, signature: str, difference: str) -> dict[str, str]:
    return {"check": check, "signature": signature, "difference": difference}


def _telling_line(error: Exception) -> str:
    """The line that matters of TensorFlow's many: the last before the node's name."""
    lines = [line.strip() for line in str(getattr(error, "message", error)).splitlines()]
    places = [index for index, line in enumerate(lines) if line.startswith("[[{{")]
    told = [line for line in lines[: places[0] if places else None] if line]
    return (told[-1:] if places else told[:1] or [type(error).__name__])[0][:_SHOWN]


if __name__ == "__main__":
    main(sys.argv[1])
