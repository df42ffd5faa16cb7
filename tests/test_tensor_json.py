"""The JSON of predict requests and answers."""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np
import pytest

from trpo_tf.serving import tensor_json
from trpo_tf.serving.status_codes import ServingError

ONE = {"x": np.dtype("float32")}
TWO = {"x": np.dtype("float32"), "n": np.dtype("int32")}


def decode(request: Any, dtypes: dict[str, np.dtype]) -> dict[str, np.ndarray]:
    return tensor_json.decode_inputs(
        tensor_json.parse_predict(json.dumps(request).encode()), dtypes
    )


@pytest.mark.parametrize(
    "request_",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
    ],
)
def test_one_input_may_stand_alone_or_by_name(request_: Any) -> None:
    decoded = decode(request_, ONE)["x"]
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, [[1, 2], [3, 4]])


def test_several_inputs_go_by_name() -> None:
    for request in (
        {"instances": [{"x": [1.5], "n": 1}, {"x": [2.5], "n": 2}]},
        {"inputs": {"x": [[1.5], [2.5]], "n": [1, 2]}},
    ):
        decoded = decode(request, TWO)
        np.testing.assert_array_equal(decoded["x"], [[1.5], [2.5]])
        np.testing.assert_array_equal(decoded["n"], np.int32([1, 2]))


BAD = {
    "no JSON": b"{'a'",
    "not even text": b"\xff\xfe\x00",
    "nested beyond all measure": b"[" * 100_000,
    "a list": b"[1]",
    "neither": b"{}",
    "both": b'{"instances": [1], "inputs": [1]}',
    "no rows": b'{"instances": []}',
    "instances are no list": b'{"instances": 3}',
    "signature is no text": b'{"signature_name": 3, "instances": [1]}',
    "ragged": b'{"instances": [[1, 2], [3]]}',
    "text": b'{"instances": [["1", "2"]]}',
    "null": b'{"instances": [[null]]}',
    "bool": b'{"instances": [[true]]}',
    "missing": b'{"instances": [{"y": 1}]}',
    "extra": b'{"inputs": {"x": [1], "y": [1]}}',
    "mixed": b'{"instances": [{"x": 1}, 2]}',
    "endless number": b'{"instances": [' + b"9" * 5000 + b"]}",
    "large number": b'{"instances": [[99999999999999999999999]]}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_request_is_refused(name: str) -> None:
    with pytest.raises(ServingError) as refused:
        tensor_json.decode_inputs(tensor_json.parse_predict(BAD[name]), ONE)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.message


def test_fractions_and_large_numbers_are_no_integers() -> None:
    for values in ([1.5], [2**31]):
        with pytest.raises(ServingError, match="'n'"):
            decode({"inputs": values}, {"n": np.dtype("int32")})


def test_answers_have_the_format_of_the_request() -> None:
    outputs = {"a": np.float32([[1], [2]]), "b": np.int64([3, 4])}
    alone = {"b": outputs["b"]}
    assert json.loads(tensor_json.encode_outputs(alone, rows=True)) == {"predictions": [3, 4]}
    assert json.loads(tensor_json.encode_outputs(alone, rows=False)) == {"outputs": [3, 4]}
    assert json.loads(tensor_json.encode_outputs(outputs, rows=True)) == {
        "predictions": [{"a": [1.0], "b": 3}, {"a": [2.0], "b": 4}]
    }
    assert json.loads(tensor_json.encode_outputs(outputs, rows=False)) == {
        "outputs": {"a": [[1.0], [2.0]], "b": [3, 4]}
    }


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
def test_tensors_come_back_to_the_bit(dtype: str) -> None:
    values = (np.random.default_rng(0).normal(size=(20, 3)) * 100).astype(dtype)
    body = tensor_json.encode_predict("mine", {"x": values})
    parsed = tensor_json.parse_predict(body)
    assert parsed.signature == "mine"
    decoded = tensor_json.decode_inputs(parsed, {"x": np.dtype(dtype)})["x"]
    assert decoded.tobytes() == values.tobytes()
    answer = tensor_json.encode_outputs({"y": values}, rows=False)
    assert (
        tensor_json.decode_outputs(answer, {"y": np.dtype(dtype)})["y"].tobytes()
        == values.tobytes()
    )


@pytest.mark.parametrize("number", ["3.4028236e38", "-1e300", "1" + "0" * 400])
def test_numbers_beyond_the_type_are_no_answer(number: str) -> None:
    with pytest.raises(ValueError, match="no answer in columnar format"):
        tensor_json.decode_outputs(
            f'{{"outputs": [{number}]}}'.encode(), {"y": np.dtype("float32")}
        )


def test_the_largest_number_is_one() -> None:
    largest = np.array([np.finfo(np.float32).max])
    answer = tensor_json.encode_outputs({"y": largest}, rows=False)
    read = tensor_json.decode_outputs(answer, {"y": largest.dtype})["y"]
    assert read.tobytes() == largest.tobytes()
