"""Policies of every kind beside their SavedModels, and what each policy answers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import zoo

from trpo_tf import warmup
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.value_function import make_value_function

tfd = tfp.distributions

REPOSITORY = Path(__file__).resolve().parent.parent
# The versions in saved_models/, by name and number.
RELEASED = {
    "/".join(path.parts[-3:-1]): path.parent
    for path in sorted(REPOSITORY.glob("saved_models/*/*/saved_model.pb"))
}


class Unusual(keras.Model):
    """A user's policy with variables in places where nobody collects them."""

    observation_space, action_space = zoo.VECTOR, zoo.TORQUES

    def __init__(self) -> None:
        super().__init__()
        self.raw = tf.Variable([0.5, -0.5])
        self.hidden_away = (lambda variable: lambda: variable)(tf.Variable([0.3, 0.4]))
        self.dense = keras.layers.Dense(2)
        self.normalization = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.5)
        self.inner = tf.function(lambda observations: self.dense(observations) + self.raw)

    def call(self, observations: Any) -> Any:
        features = self.dropout(self.normalization(observations))
        return tfd.MultivariateNormalDiag(self.inner(features), self.hidden_away())


BOUNDED = gym.spaces.Box(np.float32([0, -3]), np.float32([1, 5]))
# Beside the zoo: what concerns the action map and dtypes.
EXTRA_KINDS = {
    "rescaled": lambda: make_policy(zoo.VECTOR, BOUNDED, rescale_actions=True, seed=3),
    "float64": lambda: make_policy(
        gym.spaces.Box(-9, 9, (3,), np.float64), zoo.TORQUES, dtype="float64"
    ),
    "unusual": Unusual,
    "matrix_actions": lambda: make_policy(
        gym.spaces.Box(-9, 9, (2, 2), np.float64),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 2], [3, -4]]),
    ),
}
KINDS = [*zoo.KINDS, *EXTRA_KINDS]


class Exported(NamedTuple):
    """A policy beside its SavedModel."""

    policy: Any
    value_function: Any
    observation_space: gym.Space
    action_space: gym.Space
    path: Path


def export_kind(kind: str, base: Path) -> Exported:
    if kind in EXTRA_KINDS:
        policy = EXTRA_KINDS[kind]()
        spaces = policy.observation_space, policy.action_space
    else:
        policy = zoo.make(kind)
        spaces = zoo.KINDS[kind].observation_space, zoo.KINDS[kind].action_space
    value_function = make_value_function(spaces[0], hidden_sizes=(8,), seed=5)
    for model in (policy, value_function):
        if hasattr(model, "update_statistics"):
            observations = draw(spaces[0], 20, 9)
            model.update_statistics(observations, tf.ones([20], model.compute_dtype))
    value_function.set_output_scale(12.0)
    path = export_policy(
        policy,
        base / kind,
        value_function=value_function,
        observation_space=spaces[0],
        action_space=spaces[1],
        verify=False,
    )
    return Exported(policy, value_function, *spaces, path)


def draw(space: gym.Space, num_rows: int, seed: int) -> Any:
    space.seed(seed)
    return tf.nest.map_structure(
        lambda *rows: tf.constant(np.stack(rows)), *[space.sample() for _ in range(num_rows)]
    )


def export_all(base: Path) -> dict[str, Exported]:
    return {kind: export_kind(kind, base) for kind in KINDS}


def recorded_calls(version: Path) -> list[warmup.Call]:
    """The warm-up requests of a version and the answers beside them.

    The first releases keep no answers; there TensorFlow's own loader in Python gives them.
    """
    calls = []
    for log in warmup.read_warmup(version):
        request, response = log.predict_log.request, log.predict_log.response
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        calls.append(warmup.Call(request.model_spec.signature_name, inputs, outputs))
    if all(call.outputs for call in calls):
        return calls
    signatures = tf.saved_model.load(str(version)).signatures
    return [call._replace(outputs=_called(signatures[call.signature], call)) for call in calls]


def _called(signature: Any, call: warmup.Call) -> dict[str, np.ndarray]:
    outputs = signature(**{name: tf.constant(value) for name, value in call.inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def assert_same_answer(got: dict[str, np.ndarray], call: warmup.Call) -> None:
    """Floats to 1e-5, whole numbers exactly, dtypes and shapes as they were."""
    assert got.keys() == call.outputs.keys()
    for name, value in call.outputs.items():
        assert got[name].dtype == value.dtype, name
        tolerance = 1e-5 if value.dtype.kind == "f" else 0
        np.testing.assert_allclose(
            got[name], value, rtol=tolerance, atol=tolerance, strict=True, err_msg=name
        )
