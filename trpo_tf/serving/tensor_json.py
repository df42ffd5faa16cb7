"""The JSON of TensorFlow Serving's REST predict API, as arrays.

Row format: `{"instances": [row, …]}` answered by `{"predictions": [row, …]}`; columnar format:
`{"inputs": …}` answered by `{"outputs": …}`. Where there is one tensor its value stands alone,
otherwise tensors are given by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np

from trpo_tf.serving.status_codes import ServingError

DEFAULT_SIGNATURE = "serving_default"
# Kinds of NumPy dtypes that may stand for a kind without losing their meaning.
_ACCEPTED_KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


class PredictBody(NamedTuple):
    """A predict request as it was sent.

    Attributes:
        signature: its name.
        rows: whether it is in row format.
        values: what `instances` or `inputs` holds.
    """

    signature: str
    rows: bool
    values: Any


def parse_predict(body: bytes) -> PredictBody:
    """Takes a predict request apart.

    Raises:
        ServingError: INVALID_ARGUMENT if it is no JSON, or neither format, or both.

    >>> parse_predict(b'{"instances": [[1, 2]]}')
    PredictBody(signature='serving_default', rows=True, values=[[1, 2]])
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise _invalid("Request must be a JSON object")
    signature = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature, str):
        raise _invalid("'signature_name' key must be a string value.")
    if ("instances" in request) == ("inputs" in request):
        raise _invalid("Request must have one of the keys 'instances' (rows) and 'inputs'.")
    if "inputs" in request:
        return PredictBody(signature, False, request["inputs"])
    if not isinstance(request["instances"], list) or not request["instances"]:
        raise _invalid("Request key 'instances' must be a list with at least one row.")
    return PredictBody(signature, True, request["instances"])


def decode_inputs(body: PredictBody, dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """The inputs of a request.

    Args:
        body: the request.
        dtypes: of the signature's inputs, by name.

    Raises:
        ServingError: INVALID_ARGUMENT for names, nesting or kinds of values that do not fit.

    >>> body = parse_predict(b'{"instances": [[1, 2], [3, 4]]}')
    >>> decode_inputs(body, {"x": np.dtype("float32")})["x"]
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    columns = _columns(body, list(dtypes))
    return {name: _array(name, columns[name], dtype) for name, dtype in dtypes.items()}


def encode_outputs(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The answer to a request.

    >>> encode_outputs({"y": np.float32([1, 2])}, rows=True)
    b'{"predictions": [1.0, 2.0]}'
    """
    # The decimals of the narrow float itself: JSON's numbers read back to the same bits.
    columns = {name: _plain(value) for name, value in outputs.items()}
    alone = len(columns) == 1
    if not rows:
        return _dump({"outputs": next(iter(columns.values())) if alone else columns})
    if alone:
        return _dump({"predictions": next(iter(columns.values()))})
    named = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _dump({"predictions": named})


def encode_predict(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A request in columnar format, as the client sends it.

    >>> encode_predict("value", {"x": np.array([[1.5]])})
    b'{"signature_name": "value", "inputs": {"x": [[1.5]]}}'
    """
    columns = {name: _plain(value) for name, value in inputs.items()}
    return _dump({"signature_name": signature, "inputs": columns})


def decode_outputs(body: bytes, dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """The outputs of an answer in columnar format.

    Raises:
        ValueError: if it is no such answer.
    """
    try:
        outputs = json.loads(body)["outputs"]
        if len(dtypes) == 1:
            outputs = dict.fromkeys(dtypes, outputs)
        # A number beyond the type's range is none of a tensor's.
        with np.errstate(over="raise"):
            return {name: np.asarray(outputs[name], dtype) for name, dtype in dtypes.items()}
    except (ArithmeticError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"no answer in columnar format: {error!r:.200}") from error


def _columns(body: PredictBody, names: list[str]) -> Mapping[str, Any]:
    if not body.rows:
        by_name = isinstance(body.values, dict)
        return _checked_names(body.values if by_name else {names[0]: body.values}, names)
    first = body.values[0]
    if not isinstance(first, dict):
        if len(names) > 1:
            raise _invalid(f"instances must be JSON objects with the keys {names}")
        return {names[0]: body.values}
    rows = [_checked_names(row, names) for row in body.values]
    return {name: [row[name] for row in rows] for name in names}


def _checked_names(values: Any, names: list[str]) -> Mapping[str, Any]:
    if not isinstance(values, dict) or set(values) != set(names):
        got = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise _invalid(f"expected the inputs {sorted(names)}, got {str(got)[:200]}")
    return values


def _array(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise _invalid(f"input {name!r} is no tensor: {error}") from None
    if array.size and array.dtype.kind not in _ACCEPTED_KINDS[dtype.kind]:
        raise _invalid(f"input {name!r} must be of type {dtype}, got values of {array.dtype}")
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(array, converted):
        raise _invalid(f"input {name!r} holds numbers that do not fit into {dtype}")
    return converted


def _plain(value: np.ndarray) -> Any:
    if value.dtype in (np.float16, np.float32):
        return value.astype(str).astype(float).tolist()
    return value.tolist()


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
