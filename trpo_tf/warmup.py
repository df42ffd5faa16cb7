"""Warm-up requests: what a server replays before it gives a new version traffic.

TensorFlow Serving reads `assets.extra/tf_serving_warmup_requests` of a version when it loads it.
The first request then no longer waits for lazy initialisation, and a version that cannot answer
fails to load, with the old one still serving, instead of taking all traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from trpo_tf.space_structure import map_arrays

BATCH_SIZES = (1, 8)
FILE_NAME = "tf_serving_warmup_requests"


def warmup_requests(
    model_name: str,
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> list[prediction_log_pb2.PredictionLog]:
    """Makes one request for each signature and batch size.

    Args:
        model_name: under which the model is served; servers do not check it here.
        inputs: signature to input name to one row of it, [*O].
        batch_sizes: rows in a request; each request repeats the row.

    >>> requests = warmup_requests("m", {"serving_default": {"observations": np.zeros(3)}})
    >>> [len(requests), requests[1].predict_log.request.inputs["observations"].tensor_shape.dim[0]]
    [2, size: 8
    ]
    """
    return [
        _request(model_name, signature, rows, batch_size)
        for signature, rows in inputs.items()
        for batch_size in batch_sizes
    ]


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
    """
    records = tf.data.TFRecordDataset(str(version_dir / "assets.extra" / FILE_NAME))
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in records.as_numpy_iterator()
    ]


def example_observation(space: gym.Space) -> Any:
    """An ordinary observation: zeros where the space allows them, otherwise its nearest values.

    >>> example_observation(gym.spaces.Dict(a=gym.spaces.Box(1, 2, (2,)), b=gym.spaces.Discrete(3)))
    {'a': array([1., 1.], dtype=float32), 'b': array(0)}
    """
    return map_arrays(lambda path, part, value: _example_array(part), space)


def _example_array(space: gym.Space) -> np.ndarray:
    example = np.zeros(space.shape or (), space.dtype)
    if isinstance(space, gym.spaces.Box):
        return np.clip(example, space.low, space.high)
    if isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
        example += np.asarray(space.start, space.dtype)
    return example


def _request(
    model_name: str, signature: str, rows: Mapping[str, np.ndarray], batch_size: int
) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, row in rows.items():
        request.inputs[name].CopyFrom(_tensor_proto(row, batch_size))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )


def _tensor_proto(row: np.ndarray, batch_size: int) -> Any:
    values = np.broadcast_to(row, (batch_size, *np.shape(row)))
    if values.size and values.min() == values.max():
        # One number and a shape: a batch of images would be megabytes of zeros.
        first = values.flat[0]
        return tf.make_tensor_proto(first, dtype=tf.as_dtype(values.dtype), shape=values.shape)
    return tf.make_tensor_proto(values, dtype=tf.as_dtype(values.dtype))
