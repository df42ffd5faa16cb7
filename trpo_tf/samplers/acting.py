"""Choosing actions while stepping: one small traced function, run by LiteRT where it can be.

A call of a compiled TensorFlow function costs 250 µs and more whatever its batch; the same trace
converted to LiteRT takes 7 µs for 16 rows of a 64×64 network. The policy's variables are inputs of
the function, so it is converted once and new weights are only set.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import absl.logging
import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from trpo_tf import action_map, functional, policies, spaces, startup
from trpo_tf.samplers.action_noise import ActionNoise

_AGREEMENT = 1e-5
_logger = logging.getLogger(__name__)


class Inference(enum.Enum):
    """What runs the policy while stepping.

    AUTO takes LiteRT for a policy that it can take, and TensorFlow for all others: float64
    policies, layers that LiteRT lacks, distributions of the user's own.
    """

    AUTO = "auto"
    LITERT = "litert"
    TENSORFLOW = "tensorflow"


class Snapshot(NamedTuple):
    """A policy at one moment, as plain arrays.

    Attributes:
        parameters: values of the trainable variables, in the model's order.
        state: values of the others, a normaliser's statistics say.
        version: the count of updates that made it.
    """

    parameters: list[np.ndarray]
    state: list[np.ndarray]
    version: int


def take_snapshot(policy: keras.Model) -> Snapshot:
    """Copies what a policy is made of, so that an update meanwhile cannot change it."""
    return Snapshot(
        [value.numpy() for value in functional.parameters(policy)],
        [value.numpy() for value in functional.state(policy)],
        int(policies.policy_version(policy).numpy()),
    )


class Actor(Protocol):
    """Runs one action function for a fixed number of rows."""

    inference: Inference

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes the parameters and the state of a snapshot, in this order, for all later calls."""

    def act(self, leaves: Sequence[np.ndarray], rows: np.ndarray) -> tuple[Any, Any]:
        """Draws actions: as drawn, and as the environment takes them, both NumPy [B, *A].

        Args:
            leaves: the arrays [B, …] of the observations, in `tf.nest.flatten`'s order.
            rows: of `ActionNoise`, for one step.
        """


def trace_action_function(
    policy: keras.Model,
    observation_space: gym.Space,
    action_space: gym.Space,
    noise: ActionNoise,
) -> Any:
    """The action function of a policy, traced for the rows of one step.

    Args:
        policy: a built model.
        observation_space: of one environment.
        action_space: of one environment, whose bounds and start the sent actions respect.
        noise: what the actions are drawn from.

    Returns:
        A concrete function of (weights, observation leaves, rows of the noise) that returns the
        drawn actions and those to send.
    """
    num_rows = noise.row_spec.shape[0]
    observation_specs = spaces.observation_specs(observation_space, num_rows)
    rescale_actions = bool(getattr(policy, "rescale_actions", False))
    num_parameters = len(policy.trainable_variables)

    def act(weights: list[Any], leaves: list[Any], rows: Any) -> tuple[Any, Any]:
        if num_rows == 1:
            # The product of a matrix with a single row is another kernel, with other last bits; any
            # two rows or more have bits of their own, however many stand beside them.
            leaves = [_in_model_dtype(leaf, policy) for leaf in leaves]
            *leaves, rows = (tf.concat([part, part], 0) for part in (*leaves, rows))
        observations = tf.nest.pack_sequence_as(observation_specs, leaves)
        parameters, state = weights[:num_parameters], weights[num_parameters:]
        distribution = functional.apply(policy, parameters, observations, state)
        actions = noise.draw(distribution, rows)
        actions = actions[:num_rows]
        return actions, action_map.to_env_actions(action_space, actions, rescale_actions)

    weights = functional.parameters(policy) + functional.state(policy)
    return tf.function(act, autograph=False).get_concrete_function(
        [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights],
        [tf.TensorSpec(spec.shape, spec.dtype) for spec in tf.nest.flatten(observation_specs)],
        noise.row_spec,
    )


def _in_model_dtype(leaf: Any, policy: keras.Model) -> Any:
    """Floats as Keras casts them first of all; LiteRT cannot concatenate float64."""
    if leaf.dtype.is_floating and policy.autocast:
        return tf.cast(leaf, policy.compute_dtype)
    return leaf


def make_actor(function: Any, example: Sequence[Any], inference: Inference) -> Actor:
    """Makes what runs an action function.

    Args:
        function: of `trace_action_function`.
        example: arguments for one call; with AUTO, LiteRT is taken if it answers them as
            TensorFlow does.
        inference: what to run it with.

    Raises:
        ValueError: if LiteRT is asked for and cannot take the function.
    """
    if inference is Inference.TENSORFLOW:
        return TensorFlowActor(function)
    try:
        actor = LiteRTActor(function)
        _check_agreement(actor, TensorFlowActor(function), example)
    except Exception as error:  # LiteRT refuses with whatever its converter or a kernel raises.
        reason = _first_reason(error)
        if inference is Inference.LITERT:
            raise ValueError(
                f"LiteRT cannot take this policy: {reason}. Use inference='tensorflow'."
            ) from error
        _logger.info("TensorFlow draws the actions, LiteRT cannot take the policy: %s", reason)
        return TensorFlowActor(function)
    return actor


class TensorFlowActor:
    """Runs an action function as TensorFlow does.

    Args:
        function: of `trace_action_function`.
    """

    inference = Inference.TENSORFLOW

    def __init__(self, function: Any) -> None:
        self._function = function
        self._weights: list[Any] = []

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes the weights of all later calls."""
        self._weights = [tf.constant(weight) for weight in weights]

    def act(self, leaves: Sequence[np.ndarray], rows: np.ndarray) -> tuple[Any, Any]:
        """Draws actions: as drawn, and as the environment takes them."""
        constants = [tf.constant(leaf) for leaf in leaves]
        actions, env_actions = self._function(self._weights, constants, tf.constant(rows))
        return actions.numpy(), env_actions.numpy()


class LiteRTActor:
    """Runs an action function in LiteRT's interpreter, on one thread.

    Args:
        function: of `trace_action_function`.
    """

    inference = Inference.LITERT

    def __init__(self, function: Any) -> None:
        with startup.without_chatter(failure_is_news=False):
            self._interpreter = tf.lite.Interpreter(
                model_content=_converted(function), num_threads=1
            )
            self._interpreter.allocate_tensors()
        weights, leaves, _ = function.structured_input_signature[0]
        inputs = self._input_indices(function.inputs)
        self._weights = inputs[: len(weights)]
        self._leaves = inputs[len(weights) : len(weights) + len(leaves)]
        self._rows = inputs[-1]
        # By position: where actions are sent as they were drawn both carry one name.
        outputs = self._interpreter.get_output_details()
        self._actions, self._env_actions = (detail["index"] for detail in outputs)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes the weights of all later calls; inputs keep their values between calls."""
        for index, weight in zip(self._weights, weights, strict=True):
            self._set(index, weight)

    def act(self, leaves: Sequence[np.ndarray], rows: np.ndarray) -> tuple[Any, Any]:
        """Draws actions: as drawn, and as the environment takes them."""
        for index, leaf in zip(self._leaves, leaves, strict=True):
            self._set(index, leaf)
        self._set(self._rows, rows)
        self._interpreter.invoke()
        return (
            self._interpreter.get_tensor(self._actions),
            self._interpreter.get_tensor(self._env_actions),
        )

    def _input_indices(self, inputs: Sequence[Any]) -> list[int | None]:
        """LiteRT's indices of a graph's inputs, None for one that the conversion left out."""
        details = self._interpreter.get_input_details()
        by_name = {detail["name"]: detail["index"] for detail in details}
        return [by_name.get(tensor.name.partition(":")[0]) for tensor in inputs]

    def _set(self, index: int | None, value: np.ndarray) -> None:
        if index is not None:
            self._interpreter.set_tensor(index, value)


def _converted(function: Any) -> bytes:
    verbosity = absl.logging.get_verbosity()
    # It advises to pass the owner of the function's variables; this one has none.
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    finally:
        absl.logging.set_verbosity(verbosity)


def _first_reason(error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    # The converter puts a place in its own source in front.
    return first_line.rpartition("error: ")[2]


def _check_agreement(actor: Actor, reference: Actor, example: Sequence[Any]) -> None:
    answers = []
    for candidate in (actor, reference):
        candidate.set_weights(example[0])
        answers.append(candidate.act(*example[1:]))
    for answer, expected in zip(*answers, strict=True):
        if answer.dtype != expected.dtype or answer.shape != expected.shape:
            raise ValueError(f"it answers {answer.dtype}{list(answer.shape)}")
        if not np.allclose(answer, expected, rtol=_AGREEMENT, atol=_AGREEMENT, equal_nan=True):
            difference = np.max(np.abs(answer.astype(np.float64) - expected))
            raise ValueError(f"its actions differ by {difference} from TensorFlow's")
