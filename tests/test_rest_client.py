"""REST requests: retries, time-outs, and the server's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from scripted_server import scripted_server

from trpo_tf.serving.rest_client import RestClient
from trpo_tf.serving.status_codes import ServingError
from trpo_tf.serving.wire import Specs

SPECS = {"serving_default": Specs({}, {"y": tf.TensorSpec([None], tf.float32, "y")})}
INPUTS = {"x": np.float32([[1, 2]])}
GOOD = (200, b'{"outputs": [0.5]}')


def ask(url: str, retries: int = 2, timeout: float = 30.0, **target: Any) -> np.ndarray:
    version, label = target.get("version"), target.get("label")
    client = RestClient(url, "m", version, label, timeout, retries, backoff=0.0)
    try:
        return client.predict("serving_default", INPUTS, SPECS).outputs["y"]
    finally:
        client.close()


def refused(answers: Sequence[Any], **arguments: Any) -> tuple[ServingError, list[str]]:
    with scripted_server(answers) as (url, requests):
        with pytest.raises(ServingError) as caught:
            ask(url, **arguments)
        return caught.value, requests


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with scripted_server([(status, b"{}"), (status, b"{}"), GOOD]) as (url, requests):
        np.testing.assert_array_equal(ask(url), np.float32([0.5]))
    assert requests == ["POST /v1/models/m:predict"] * 3


def test_a_server_that_stays_busy_is_told_of_in_its_words() -> None:
    error, requests = refused([(503, json.dumps({"error": "queue is full"}).encode())] * 3)
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert error.message == "queue is full"
    assert len(requests) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (500, "INTERNAL"), (418, "UNKNOWN")],
)
def test_other_errors_are_not_repeated(status: int, code: str) -> None:
    error, requests = refused([(status, b'{"error": "in its own words"}')])
    assert (error.code.name, error.message) == (code, "in its own words")
    assert len(requests) == 1


def test_what_is_no_json_is_told_too() -> None:
    error, _ = refused([(500, b"<html>oh</html>")])
    assert error.message == "HTTP 500: <html>oh</html>"
    error, _ = refused([(200, b"<html>oh</html>")])
    assert "the server's answer cannot be read: <html>oh" in error.message


def test_a_server_that_does_not_answer_runs_into_the_time_out() -> None:
    error, requests = refused([None], timeout=0.2)
    assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert "timed out" in error.message
    assert len(requests) == 1


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with scripted_server([]) as (url, _):
        pass
    with pytest.raises(ServingError) as caught:
        ask(url)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_versions_and_labels_are_in_the_path() -> None:
    with scripted_server([GOOD, GOOD]) as (url, requests):
        ask(url, version=3)
        ask(url, label="my label/1")
    assert requests == [
        "POST /v1/models/m/versions/3:predict",
        "POST /v1/models/m/labels/my%20label%2F1:predict",
    ]


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (429, 3), (413, 1)])
def test_a_server_cannot_make_it_wait_for_hours(
    status: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_headers = BaseHTTPRequestHandler.end_headers

    def end_headers_with_wish(self: BaseHTTPRequestHandler) -> None:
        self.send_header("Retry-After", "3600")
        end_headers(self)

    pauses: list[float] = []
    monkeypatch.setattr(BaseHTTPRequestHandler, "end_headers", end_headers_with_wish)
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    _, requests = refused([(status, b"{}")] * 3)
    assert len(requests) == tries
    assert pauses == []


def test_pauses_double_up_to_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    with scripted_server([(503, b"{}")] * 6) as (url, _):
        client = RestClient(url, "m", None, None, 30.0, 5, backoff=1.0)
        with pytest.raises(ServingError):
            client.status()
        client.close()
    assert pauses == [2.0, 4.0, 8.0, 10.0]
