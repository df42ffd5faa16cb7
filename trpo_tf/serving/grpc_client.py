"""A served model over gRPC, by the stubs of TensorFlow Serving's API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trpo_tf.serving.status_codes import ServingError
from trpo_tf.serving.wire import (
    Prediction,
    SignatureSpecs,
    array_of,
    signature_specs,
    unreadable,
)

_RETRIED = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
_LONGEST_WAIT = "10s"
# gRPC makes no more tries than this, whatever it is told.
_MOST_TRIES = 5
# Requests that are to be repeated within a millisecond may hang until their deadline (grpc #41036).
_SHORTEST_BACKOFF = 0.05


class GrpcClient:
    """Requests to one model over gRPC; thread-safe.

    Args:
        address: host and port.
        secure: whether the server speaks TLS.
        model: its name.
        version: a number, or None.
        label: of a version, or None.
        timeout: seconds that a request may take, its further tries included.
        retries: further tries after UNAVAILABLE and RESOURCE_EXHAUSTED, at most 4.
        backoff: seconds before the second try, at least 0.05; doubled each time.
    """

    def __init__(
        self,
        address: str,
        secure: bool,
        model: str,
        version: int | None,
        label: str | None,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.service_config", json.dumps(_service_config(retries, backoff))),
        ]
        self._channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
            if secure
            else grpc.insecure_channel(address, options)
        )
        self._target = (model, version, label)
        self._timeout = timeout
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def signatures(self) -> SignatureSpecs:
        """What the model offers, from its metadata."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._call(self._predictions.GetModelMetadata, request)
        return _signatures(answer)

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], specs: SignatureSpecs
    ) -> Prediction:
        """Runs a signature."""
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._call(self._predictions.Predict, request)
        return _prediction(answer)

    def status(self) -> get_model_status_pb2.GetModelStatusResponse:
        """What the server says of the model's versions."""
        request = get_model_status_pb2.GetModelStatusRequest()
        return self._call(self._models.GetModelStatus, request)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _call(self, method: Any, request: Any) -> Any:
        request.model_spec.name, version, label = self._target
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code(), error.details() or "") from error


def _signatures(answer: Any) -> SignatureSpecs:
    message = get_model_metadata_pb2.SignatureDefMap()
    try:
        if not answer.metadata["signature_def"].Unpack(message):
            raise unreadable("there is no signature_def in it")
        return signature_specs(message)
    except (ValueError, DecodeError) as error:
        raise unreadable(str(error)) from error


def _prediction(answer: Any) -> Prediction:
    try:
        outputs = {name: array_of(proto) for name, proto in answer.outputs.items()}
    except ValueError as error:
        raise unreadable(f"an output {error}") from error
    return Prediction(outputs, answer.model_spec.version.value)


def _service_config(retries: int, backoff: float) -> dict[str, Any]:
    if retries < 1:
        return {}
    policy = {
        "maxAttempts": min(retries + 1, _MOST_TRIES),
        "initialBackoff": f"{max(backoff, _SHORTEST_BACKOFF):.3f}s",
        "maxBackoff": _LONGEST_WAIT,
        "backoffMultiplier": 2,
        "retryableStatusCodes": _RETRIED,
    }
    return {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
