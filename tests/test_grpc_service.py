"""The gRPC services, asked through a channel by the serving API's stubs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import serving_models
import tensorflow as tf
from serving_models import ROWS, config_of
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trpo_tf.serving.grpc_service import grpc_server
from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.served_version import ServedVersion


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 2)


@pytest.fixture(scope="module")
def channel(base: Path) -> Iterator[grpc.Channel]:
    models = ServedModels(ServedVersion)
    models.apply(config_of(base, [1, 2], stable=1))
    server, port = grpc_server(models, "127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()
    models.close()


def predict(channel: grpc.Channel, name: str = "m", label: str | None = None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if label is not None:
        request.model_spec.version_label = label
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(value)
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)


def test_predict_says_which_version_answered(channel: grpc.Channel) -> None:
    for label, version in ((None, 2), ("stable", 1)):
        answer = predict(channel, label=label, observations=tf.make_tensor_proto(ROWS))
        assert answer.model_spec.version.value == version
        assert answer.model_spec.signature_name == "serving_default"
        actions = tf.make_ndarray(answer.outputs["actions"])
        np.testing.assert_allclose(actions, serving_models.expected_actions(version))


def nonsense() -> tf.compat.v1.TensorProto:
    proto = tf.make_tensor_proto(ROWS)
    proto.tensor_content = b"123"
    return proto


def overflowing() -> tf.compat.v1.TensorProto:
    """A byte that holds 300."""
    proto = tf.make_tensor_proto(np.uint8([[1]]))
    proto.tensor_content = b""
    proto.int_val.append(300)
    return proto


def endless() -> tf.compat.v1.TensorProto:
    """Twenty bytes that ask for terabytes."""
    proto = tf.make_tensor_proto(np.float32(1))
    for size in (2**31, 2**20):
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"name": "a"}, "NOT_FOUND", "Servable not found"),
        ({"label": "a"}, "INVALID_ARGUMENT", "label: a"),
        ({}, "INVALID_ARGUMENT", "expected the inputs"),
        ({"observations": tf.make_tensor_proto(ROWS * np.nan)}, "INVALID_ARGUMENT", "finite"),
        ({"observations": tf.make_tensor_proto([["a"]])}, "INVALID_ARGUMENT", "of type float32"),
        ({"observations": nonsense()}, "INVALID_ARGUMENT", "is no tensor"),
        ({"observations": overflowing()}, "INVALID_ARGUMENT", "is no tensor"),
        ({"observations": endless()}, "INVALID_ARGUMENT", "entries, more than"),
    ],
)
def test_bad_requests_have_their_codes(channel: grpc.Channel, arguments, code, message) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        predict(channel, **arguments)
    assert refused.value.code() is grpc.StatusCode[code]
    assert message in refused.value.details()


def test_metadata_and_status(channel: grpc.Channel) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    answer = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert "sample" in signatures.signature_def
    del request.metadata_field[:]
    with pytest.raises(grpc.RpcError):
        stub.GetModelMetadata(request)
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)
    assert [entry.version for entry in answer.model_version_status] == [2, 1]


def test_the_config_can_be_handed_in(channel: grpc.Channel, base: Path) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    for version in (2, 1):
        request = model_management_pb2.ReloadConfigRequest(
            config=config_of(base, [1, 2], stable=version)
        )
        stub.HandleReloadConfigRequest(request)
        answer = predict(channel, label="stable", observations=tf.make_tensor_proto(ROWS))
        assert answer.model_spec.version.value == version
    with pytest.raises(grpc.RpcError) as refused:
        stub.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(config=config_of(base, [1, 2], stable=7))
        )
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    # An empty one takes no action.
    stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    answer = predict(channel, label="stable", observations=tf.make_tensor_proto(ROWS))
    assert answer.model_spec.version.value == 1
