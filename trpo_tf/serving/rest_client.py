"""A served model over REST, as TensorFlow Serving speaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

import grpc
import numpy as np
import urllib3
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from trpo_tf.serving import tensor_json
from trpo_tf.serving.status_codes import ServingError, code_of_http
from trpo_tf.serving.wire import (
    LONGEST_ERROR,
    Prediction,
    SignatureSpecs,
    signature_specs,
    unreadable,
)

_RETRIED = frozenset({429, 503})
_LONGEST_WAIT = 10.0


class RestClient:
    """Requests to one model over HTTP; thread-safe.

    Args:
        url: `http://host:port` or `https://host:port`, with a path before `/v1` if there is one.
        model: its name.
        version: a number, or None.
        label: of a version, or None.
        timeout: seconds that each try may take to connect and to wait for the answer.
        retries: further tries after 429, 503 and connections that are refused. What the server
            asks for in `Retry-After` is not heeded.
        backoff: half the seconds before the third try, doubled each time, at most 10 seconds; the
            second try follows at once.
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None,
        label: str | None,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        self._base = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._base += f"/versions/{version}"
        if label is not None:
            self._base += f"/labels/{quote(label, safe='')}"
        self._pool = urllib3.PoolManager(
            maxsize=64,
            timeout=urllib3.Timeout(timeout),
            retries=urllib3.Retry(
                total=retries,
                connect=retries,
                read=0,
                redirect=0,
                other=0,
                status=retries,
                status_forcelist=_RETRIED,
                # A prediction changes nothing, so it may be asked for again.
                allowed_methods=None,
                backoff_factor=backoff,
                backoff_max=_LONGEST_WAIT,
                # It may ask for hours, and for further tries after other statuses than these.
                respect_retry_after_header=False,
                raise_on_status=False,
            ),
        )

    def signatures(self) -> SignatureSpecs:
        """What the model offers, from its metadata."""
        return _signatures(self._request("GET", "/metadata"))

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], specs: SignatureSpecs
    ) -> Prediction:
        """Runs a signature."""
        body = tensor_json.encode_predict(signature, inputs)
        answer = self._request("POST", ":predict", body)
        dtypes = {
            name: np.dtype(spec.dtype.as_numpy_dtype)
            for name, spec in specs[signature].outputs.items()
        }
        try:
            return Prediction(tensor_json.decode_outputs(answer, dtypes), None)
        except ValueError as error:
            raise _unreadable(answer) from error

    def status(self) -> get_model_status_pb2.GetModelStatusResponse:
        """What the server says of the model's versions."""
        return _status(self._request("GET", ""))

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = self._pool.request(method, self._base + path, body=body, headers=headers)
        except urllib3.exceptions.MaxRetryError as error:
            late = isinstance(error.reason, urllib3.exceptions.ReadTimeoutError)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE
            raise ServingError(code, str(error.reason)) from error
        except urllib3.exceptions.HTTPError as error:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        if answer.status == 200:
            return answer.data
        raise ServingError(code_of_http(answer.status), _words(answer.data, answer.status))


def _signatures(answer: bytes) -> SignatureSpecs:
    message = get_model_metadata_pb2.SignatureDefMap()
    try:
        plain = json.loads(answer)["metadata"]["signature_def"]
        json_format.ParseDict(plain, message, ignore_unknown_fields=True)
        return signature_specs(message)
    except (ValueError, LookupError, TypeError, RecursionError, json_format.ParseError) as error:
        raise _unreadable(answer) from error


def _status(answer: bytes) -> get_model_status_pb2.GetModelStatusResponse:
    try:
        return json_format.Parse(
            answer, get_model_status_pb2.GetModelStatusResponse(), ignore_unknown_fields=True
        )
    except (ValueError, RecursionError, json_format.ParseError) as error:
        raise _unreadable(answer) from error


def _words(data: bytes, status: int) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, LookupError, RecursionError, TypeError):
        text = data.decode(errors="replace").strip()[:LONGEST_ERROR]
        return f"HTTP {status}: {text}"


def _unreadable(answer: bytes) -> ServingError:
    return unreadable(answer.decode(errors="replace"))
