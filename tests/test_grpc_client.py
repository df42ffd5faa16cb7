"""gRPC requests: retries, time-outs, and the server's words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from trpo_tf.serving.grpc_client import GrpcClient
from trpo_tf.serving.status_codes import ServingError

INPUTS = {"x": np.float32([[1, 2]])}


class Scripted(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Gives codes in turn; OK answers, None never does."""

    def __init__(self, codes: list[grpc.StatusCode | None]) -> None:
        self.codes = codes
        self.requests: list[Any] = []
        self.ended = threading.Event()

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        code = self.codes[len(self.requests) - 1]
        if code is None:
            self.ended.wait()
        elif code is not grpc.StatusCode.OK:
            context.abort(code, "in its own words")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 7
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(np.float32([0.5])))
        return response


@contextlib.contextmanager
def client_of(
    *codes: grpc.StatusCode | None, retries: int = 2, timeout: float = 30.0, **target: Any
) -> Iterator[tuple[GrpcClient, Scripted]]:
    service = Scripted(list(codes))
    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    version, label = target.get("version"), target.get("label")
    client = GrpcClient(f"127.0.0.1:{port}", False, "m", version, label, timeout, retries, 0.001)
    try:
        yield client, service
    finally:
        client.close()
        service.ended.set()
        server.stop(None).wait()


@pytest.mark.parametrize("name", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_busy_server_is_asked_again(name: str) -> None:
    busy = grpc.StatusCode[name]
    with client_of(busy, busy, grpc.StatusCode.OK) as (client, service):
        outputs, version = client.predict("serving_default", INPUTS, {})
    np.testing.assert_array_equal(outputs["y"], np.float32([0.5]))
    assert version == 7
    assert len(service.requests) == 3


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (2, 3)])
def test_a_server_that_stays_busy_is_told_of_in_its_words(retries: int, tries: int) -> None:
    with client_of(*[grpc.StatusCode.UNAVAILABLE] * 5, retries=retries) as (client, service):
        with pytest.raises(ServingError, match="UNAVAILABLE: in its own words"):
            client.predict("serving_default", INPUTS, {})
        assert len(service.requests) == tries


def test_other_errors_are_not_repeated() -> None:
    with client_of(grpc.StatusCode.INVALID_ARGUMENT) as (client, service):
        with pytest.raises(ServingError, match="INVALID_ARGUMENT: in its own words"):
            client.predict("serving_default", INPUTS, {})
        assert len(service.requests) == 1


def test_a_server_that_does_not_answer_runs_into_the_time_out() -> None:
    with client_of(None, timeout=0.2) as (client, _), pytest.raises(ServingError) as refused:
        client.predict("serving_default", INPUTS, {})
    assert refused.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_versions_labels_and_signatures_are_in_the_request() -> None:
    with client_of(grpc.StatusCode.OK, version=3) as (client, service):
        client.predict("sample", INPUTS, {})
    spec = service.requests[0].model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "sample")
    with client_of(grpc.StatusCode.OK, label="canary") as (client, service):
        client.predict("sample", INPUTS, {})
    assert service.requests[0].model_spec.version_label == "canary"
