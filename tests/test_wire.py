"""What a model offers, read from its metadata."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from trpo_tf.serving import wire


def test_signatures_become_specs_and_the_initialiser_none() -> None:
    message = get_model_metadata_pb2.SignatureDefMap()
    tensor = message.signature_def["serving_default"].inputs["x"]
    tensor.dtype = tf.float64.as_datatype_enum
    for size in (-1, 3):
        tensor.tensor_shape.dim.add(size=size)
    message.signature_def["__saved_model_init_op"].SetInParent()
    specs = wire.signature_specs(message)
    assert list(specs) == ["serving_default"]
    assert specs["serving_default"].inputs == {"x": tf.TensorSpec([None, 3], tf.float64, "x")}
    assert specs["serving_default"].outputs == {}
