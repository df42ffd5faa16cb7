"""Codes and statuses."""

from __future__ import annotations

import grpc
import pytest
import tensorflow as tf

from trpo_tf.serving import status_codes


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("FAILED_PRECONDITION", 400),
        ("OUT_OF_RANGE", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("ABORTED", 409),
        ("RESOURCE_EXHAUSTED", 429),
        ("CANCELLED", 499),
        ("INTERNAL", 500),
        ("UNIMPLEMENTED", 501),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("UNKNOWN", 500),
    ],
)
def test_codes_have_the_statuses_of_tensorflow_serving(name: str, status: int) -> None:
    assert status_codes.http_status(grpc.StatusCode[name]) == status


def test_an_op_s_error_keeps_its_code_and_the_line_that_matters() -> None:
    try:
        tf.debugging.check_numerics(tf.constant(float("nan")), "input 'x' must be finite")
    except tf.errors.InvalidArgumentError as error:
        told = status_codes.of_tensorflow(error)
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input 'x' must be finite" in told.message
    assert "\n" not in told.message
    assert str(told).startswith("INVALID_ARGUMENT: ")
