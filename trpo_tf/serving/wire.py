"""What both protocols have in common: what a model offers, and an answer of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf

from trpo_tf.serving.status_codes import ServingError

_MAX_ENTRIES = 64 * 2**20
LONGEST_ERROR = 1000


class Prediction(NamedTuple):
    """An answer.

    Attributes:
        outputs: by name, each [N, ...].
        version: that answered; None over REST, whose answers do not say it.
    """

    outputs: dict[str, np.ndarray]
    version: int | None


class Specs(NamedTuple):
    """The tensors of one signature.

    Attributes:
        inputs: `tf.TensorSpec` by name.
        outputs: the same.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any]


SignatureSpecs = Mapping[str, Specs]


def signature_specs(message: Any) -> dict[str, Specs]:
    """Reads a `SignatureDefMap`.

    Raises:
        ValueError: if a tensor of it has no dtype that there is, or a size below -1 (unknown).
    """
    return {
        name: Specs(_specs(definition.inputs), _specs(definition.outputs))
        for name, definition in message.signature_def.items()
        if not name.startswith("__")
    }


def array_of(proto: Any) -> np.ndarray:
    """The array in a `TensorProto`.

    Raises:
        ValueError: if it holds none, or one of more than 64 Mi entries; says what it "is" or "has".
    """
    # One number may stand for all: a few bytes must not ask for all memory.
    size = math.prod(max(dimension.size, 0) for dimension in proto.tensor_shape.dim)
    if size > _MAX_ENTRIES:
        raise ValueError(f"has {size} entries, more than {_MAX_ENTRIES}")
    try:
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"is no tensor: {error}") from error


def unreadable(answer: str) -> ServingError:
    """The error for what no server should answer."""
    words = f"the server's answer cannot be read: {answer[:LONGEST_ERROR]}"
    return ServingError(grpc.StatusCode.UNKNOWN, words)


def _specs(tensors: Any) -> dict[str, Any]:
    return {name: _spec(name, info) for name, info in tensors.items()}


def _spec(name: str, info: Any) -> Any:
    if any(dimension.size < -1 for dimension in info.tensor_shape.dim):
        raise ValueError(f"{name[:100]!r} has a size below -1")
    try:
        return tf.TensorSpec(tf.TensorShape(info.tensor_shape), info.dtype, name)
    except TypeError as error:
        raise ValueError(f"{name[:100]!r} has no dtype: {error}") from error
