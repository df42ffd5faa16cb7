"""Errors of a served model: gRPC's codes, and the HTTP statuses that stand for them."""

from __future__ import annotations

import grpc
import tensorflow as tf

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request was refused or failed.

    Attributes:
        code: of gRPC; over REST the one that the HTTP status stands for.
        message: the server's words.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


def http_status(code: grpc.StatusCode) -> int:
    """The HTTP status that TensorFlow Serving answers with.

    >>> http_status(grpc.StatusCode.OUT_OF_RANGE), http_status(grpc.StatusCode.DATA_LOSS)
    (400, 500)
    """
    return _HTTP.get(code, 500)


def code_of_http(status: int) -> grpc.StatusCode:
    """The first code that an HTTP status stands for; UNKNOWN if none.

    >>> code_of_http(400).name, code_of_http(418).name
    ('INVALID_ARGUMENT', 'UNKNOWN')
    """
    codes = [code for code, number in _HTTP.items() if number == status]
    return codes[0] if codes else grpc.StatusCode.UNKNOWN


def of_tensorflow(error: tf.errors.OpError) -> ServingError:
    """What a failed run means to whoever asked, in the line that matters of TensorFlow's many."""
    lines = [line.strip() for line in error.message.splitlines()]
    told = [line for line in lines if line and not line.startswith(("[[", "Graph execution"))]
    finite = [line for line in told if "must be finite" in line]
    message = (finite or told or ["the model failed"])[0]
    return ServingError(_BY_NUMBER[error.error_code], message)
