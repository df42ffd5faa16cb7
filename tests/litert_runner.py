"""Runs a function as LiteRT does, with nothing but its builtin ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def run_litert(function: Callable[..., tf.Tensor], *inputs: np.ndarray) -> np.ndarray:
    """Converts a function of arrays of these shapes; an op that LiteRT lacks is an error."""
    specs = [
        tf.TensorSpec(value.shape, value.dtype, f"input_{index}")
        for index, value in enumerate(inputs)
    ]
    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    details: dict[str, Any] = {
        detail["name"].split(":")[0]: detail["index"] for detail in interpreter.get_input_details()
    }
    for spec, value in zip(specs, inputs, strict=True):
        interpreter.set_tensor(details[spec.name], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
