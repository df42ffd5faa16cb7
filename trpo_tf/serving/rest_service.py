"""TensorFlow Serving's REST API as a WSGI application."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from trpo_tf.serving import tensor_json
from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.status_codes import ServingError, http_status

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<action>:predict|/metadata)?"
)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class _Target(NamedTuple):
    name: str
    version: int | None
    label: str | None


def rest_service(models: ServedModels) -> Callable[..., Iterable[bytes]]:
    """Makes the application.

    `POST /v1/models/NAME[/versions/N|/labels/L]:predict`, `GET` of the same without `:predict`
    (status) and with `/metadata`. Errors are `{"error": "…"}` with TensorFlow Serving's statuses.

    Args:
        models: what is served.
    """

    def application(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            status, body = 200, _answer(models, environ)
        except ServingError as error:
            status = http_status(error.code)
            body = json.dumps({"error": error.message}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status} {_REASONS[status]}", headers)
        # Bytes after the head of an answer to HEAD would be taken for the next answer's.
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return application


def signature_map(definitions: Mapping[str, Any]) -> get_model_metadata_pb2.SignatureDefMap:
    """The metadata's message of some signatures."""
    message = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in definitions.items():
        message.signature_def[name].CopyFrom(definition)
    return message


def _answer(models: ServedModels, environ: Mapping[str, Any]) -> bytes:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    found = _PATH.fullmatch(path)
    if found is None or method != ("POST" if found["action"] == ":predict" else "GET"):
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {path[:200]}"
        )
    version = int(found["version"]) if found["version"] else None
    label = unquote(found["label"]) if found["label"] else None
    target = _Target(unquote(found["name"]), version, label)
    if found["action"] == ":predict":
        return _predict(models, target, environ["wsgi.input"].read())
    if found["action"] == "/metadata":
        return _metadata(models, target)
    return _json(models.status(*target))


def _predict(models: ServedModels, target: _Target, text: bytes) -> bytes:
    body = tensor_json.parse_predict(text)
    with models.use(*target) as (_, served):
        dtypes = served.signature(body.signature).dtypes
        outputs = served.predict(body.signature, tensor_json.decode_inputs(body, dtypes))
    return tensor_json.encode_outputs(outputs, body.rows)


def _metadata(models: ServedModels, target: _Target) -> bytes:
    with models.use(*target) as (number, served):
        definitions = {name: known.definition for name, known in served.signatures.items()}
    answer = {
        "model_spec": {"name": target.name, "signature_name": "", "version": str(number)},
        "metadata": {"signature_def": _plain(signature_map(definitions))},
    }
    return json.dumps(answer, indent=1).encode()


def _json(message: Any) -> bytes:
    return json.dumps(_plain(message), indent=1).encode()


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return plain
