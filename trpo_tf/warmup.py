"""Warm-up requests: what a server replays before it gives a new version traffic.

TensorFlow Serving reads `assets.extra/tf_serving_warmup_requests` of a version when it loads it.
The first request then no longer waits for lazy initialisation, and a version that cannot answer
fails to load, with the old one still serving, instead of taking all traffic. Beside each request
lies the policy's own answer, which servers ignore and `verification` compares theirs with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from trpo_tf.space_structure import map_arrays

BATCH_SIZES = (1, 4)
FILE_NAME = "tf_serving_warmup_requests"
# Boxes up to this wide are drawn from evenly; environments give others bounds that mean nothing.
_WIDEST = 1000.0


class Call(NamedTuple):
    """One request and what the policy answers to it.

    Attributes:
        signature: its name.
        inputs: by name, each [N, ...].
        outputs: by name, each [N, ...]; empty if nobody knows them.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def warmup_requests(
    model_name: str, calls: Sequence[Call]
) -> list[prediction_log_pb2.PredictionLog]:
    """Makes the records of a warm-up file.

    Args:
        model_name: under which the model is served; servers do not check it here.
        calls: in the order in which they are replayed.

    >>> calls = [Call("serving_default", {"observations": np.zeros([2, 3])}, {})]
    >>> request = warmup_requests("m", calls)[0].predict_log.request
    >>> request.inputs["observations"].tensor_shape.dim[0].size
    2
    """
    return [_record(model_name, call) for call in calls]


def write_warmup(version_dir: Path, requests: Sequence[prediction_log_pb2.PredictionLog]) -> Path:
    """Writes requests where a server looks for them; returns the file's path."""
    path = version_dir / "assets.extra" / FILE_NAME
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(request.SerializeToString())
    return path


def read_warmup(version_dir: Path) -> list[prediction_log_pb2.PredictionLog]:
    """Reads the requests of a version.

    Raises:
        tf.errors.NotFoundError: if there are none.
        ValueError: if the file is damaged.
    """
    path = version_dir / "assets.extra" / FILE_NAME
    try:
        return [
            prediction_log_pb2.PredictionLog.FromString(record)
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        ]
    except (tf.errors.DataLossError, DecodeError) as error:
        raise ValueError(f"{path} holds no warm-up requests: {error}.") from error


def example_observations(space: gym.Space, num_rows: int, seed: int = 0) -> Any:
    """Ordinary observations: standard normal numbers inside the bounds, even draws where those are.

    Args:
        space: of single observations.
        num_rows: N.
        seed: the same seed gives the same observations.

    Returns:
        [N, *O] in the space's structure and dtypes.

    >>> space = gym.spaces.Dict(a=gym.spaces.Box(1, 2, (2,)), b=gym.spaces.Discrete(3, start=5))
    >>> example_observations(space, 2)["b"].tolist()
    [6, 6]
    """
    generator = np.random.default_rng(seed)
    return map_arrays(lambda path, part, value: _examples(part, num_rows, generator), space)


def _examples(space: gym.Space, num_rows: int, generator: np.random.Generator) -> np.ndarray:
    shape = (num_rows, *(space.shape or ()))
    if isinstance(space, gym.spaces.Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        even = high - low <= _WIDEST
        drawn = np.where(
            even,
            generator.uniform(np.where(even, low, 0), np.where(even, high, 1), shape),
            np.clip(generator.normal(size=shape), low, high),
        )
        return np.clip(drawn.astype(space.dtype), space.low, space.high)
    if isinstance(space, gym.spaces.MultiBinary):
        return generator.integers(0, 2, shape).astype(space.dtype)
    assert isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete)
    counts = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
    return (space.start + generator.integers(0, counts, shape)).astype(space.dtype)


def _record(model_name: str, call: Call) -> prediction_log_pb2.PredictionLog:
    request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
    for message, tensors in ((request, call.inputs), (response, call.outputs)):
        message.model_spec.name = model_name
        message.model_spec.signature_name = call.signature
        tensor_map = message.inputs if message is request else message.outputs
        for name, value in tensors.items():
            tensor_map[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request, response=response)
    )
