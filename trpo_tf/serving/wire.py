"""What both protocols have in common: what a model offers, and an answer of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


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
    """Reads a `SignatureDefMap`."""
    return {
        name: Specs(_specs(definition.inputs), _specs(definition.outputs))
        for name, definition in message.signature_def.items()
        if not name.startswith("__")
    }


def _specs(tensors: Any) -> dict[str, Any]:
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), info.dtype, name)
        for name, info in tensors.items()
    }
