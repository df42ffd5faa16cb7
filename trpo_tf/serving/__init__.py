"""Calling served policies; `python -m trpo_tf.serving.dev_server` serves them for development."""

from trpo_tf.serving.client import Client
from trpo_tf.serving.status_codes import ServingError
from trpo_tf.serving.wire import Prediction

__all__ = ["Client", "Prediction", "ServingError"]
