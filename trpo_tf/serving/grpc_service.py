"""TensorFlow Serving's gRPC services, on the stubs of its own API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trpo_tf.serving.rest_service import signature_map
from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.status_codes import ServingError
from trpo_tf.serving.tensor_json import DEFAULT_SIGNATURE
from trpo_tf.serving.wire import array_of

_MAX_MESSAGE_BYTES = 64 * 2**20
_NUM_THREADS = 64


def grpc_server(models: ServedModels, address: str) -> tuple[grpc.Server, int]:
    """Makes the server of Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest.

    Args:
        models: what is served.
        address: host and port; port 0 lets the system choose.

    Returns:
        The server, not started, and its port.

    Raises:
        RuntimeError: if the port is taken.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(_NUM_THREADS),
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(models), server)
    return server, server.add_insecure_port(address)


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Requests to models."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 (the service's name)
        """Runs a signature."""
        return _answered(context, lambda: self._predict(request))

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Says which signatures there are."""
        return _answered(context, lambda: self._metadata(request))

    def _predict(self, request: Any) -> predict_pb2.PredictResponse:
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        inputs = {name: _array(name, proto) for name, proto in request.inputs.items()}
        with self._models.use(*_target(request.model_spec)) as (number, served):
            outputs = served.predict(signature, inputs)
        response = predict_pb2.PredictResponse()
        _describe(response.model_spec, request.model_spec.name, number)
        response.model_spec.signature_name = signature
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _metadata(self, request: Any) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, "metadata_field must be 'signature_def'"
            )
        with self._models.use(*_target(request.model_spec)) as (number, served):
            definitions = {name: known.definition for name, known in served.signatures.items()}
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _describe(response.model_spec, request.model_spec.name, number)
        response.metadata["signature_def"].Pack(signature_map(definitions))
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Questions about models, and what is served."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Says which versions there are."""
        return _answered(context, lambda: self._models.status(*_target(request.model_spec)))

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serves what the request's config says, until a config file that has changed is read."""
        return _answered(context, lambda: self._reload(request))

    def _reload(self, request: Any) -> model_management_pb2.ReloadConfigResponse:
        self._models.apply(request.config)
        return model_management_pb2.ReloadConfigResponse()


def _answered(context: Any, answer: Callable[[], Any]) -> Any:
    try:
        return answer()
    except ServingError as error:
        return context.abort(error.code, error.message)


def _target(spec: Any) -> tuple[str, int | None, str | None]:
    kind = spec.WhichOneof("version_choice")
    version = spec.version.value if kind == "version" else None
    return spec.name, version, spec.version_label if kind == "version_label" else None


def _describe(spec: Any, name: str, number: int) -> None:
    spec.name = name
    spec.version.value = number


def _array(name: str, proto: Any) -> np.ndarray:
    try:
        return array_of(proto)
    except ValueError as error:
        words = f"input {name[:100]!r} {error}"
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, words) from None
