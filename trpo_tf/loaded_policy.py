"""A policy from a SavedModel: observations in, actions out, no Keras model needed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import tensorflow as tf

from trpo_tf.model_card import METADATA_FILE, MOST_METADATA_BYTES
from trpo_tf.model_versions import find_version
from trpo_tf.plain_file import read_plain_file
from trpo_tf.policy_inputs import checked_seeds, policy_inputs
from trpo_tf.signatures import DETERMINISTIC, DISTRIBUTION, SAMPLE, VALUE
from trpo_tf.space_json import space_from_json

# What TensorFlow raises for a model that is cut short or lacks a part.
_LOADING_ERRORS = (OSError, RuntimeError, ValueError, LookupError, tf.errors.OpError)


class Sample(NamedTuple):
    """Drawn actions.

    Attributes:
        actions: [N, *A], sendable to the environment.
        raw_actions: [N, *A], as drawn from the distribution, what a `Rollout` stores.
        log_probs: [N], of `raw_actions`, in nats.
    """

    actions: Any
    raw_actions: Any
    log_probs: Any


class LoadedPolicy:
    """A served model in this process; calling it is `act`.

    Every method takes a batch of observations [N, *O], as vector environments give it, or one
    observation [*O], and answers in kind, with NumPy arrays. Variables: those of the SavedModel.

    Attributes:
        path: the version's directory.
        metadata: what the exporter wrote beside the model; empty if there is nothing.
        observation_space: what the model takes; None without metadata.
        action_space: what its actions are sent to; None without metadata.
        env_id: of the environment that it was trained in; None if nobody says.
    """

    def __init__(self, path: Path, model: Any, metadata: Mapping[str, Any]) -> None:
        self.path = path
        self.metadata = metadata
        self.observation_space = _space(metadata, "observation_space", path)
        self.action_space = _space(metadata, "action_space", path)
        self.env_id = _env_id(metadata)
        # The signatures hold the model's variables only weakly.
        self._model = model

    def __call__(self, observations: Any) -> Any:
        """The same as `act`."""
        return self.act(observations)

    def act(self, observations: Any) -> Any:
        """The deterministic actions, sendable to the environment.

        Args:
            observations: [N, *O] or [*O], in the structure of the observation space.

        Returns:
            [N, *A] or [*A].

        Raises:
            ValueError: if the observations do not fit the space or are not finite.
        """
        return self._answer(DETERMINISTIC, observations)["actions"]

    def sample(self, observations: Any, seeds: Any) -> Sample:
        """Draws actions; each row's draw depends on its own observation and seed alone.

        Args:
            observations: [N, *O] or [*O].
            seeds: [N, 2] or [2], whole numbers of 32 bits.

        Raises:
            ValueError: if observations or seeds do not fit.
        """
        outputs = self._answer(SAMPLE, observations, seeds)
        return Sample(outputs["actions"], outputs["raw_actions"], outputs["log_probs"])

    def distribution(self, observations: Any) -> dict[str, Any]:
        """The parameters of the action distribution by name, each [N, …] or […]."""
        return self._answer(DISTRIBUTION, observations)

    def value(self, observations: Any) -> Any:
        """The values of observations in raw reward units, [N] or a number.

        Raises:
            ValueError: if the model was exported without a value function.
        """
        return self._answer(VALUE, observations)["values"]

    def _answer(self, signature: str, observations: Any, seeds: Any = None) -> dict[str, Any]:
        function = self._signature(signature)
        specs = function.structured_input_signature[1]
        inputs, single = policy_inputs(self.observation_space, specs, observations)
        if signature == SAMPLE:
            num_rows = len(next(iter(inputs.values())))
            inputs["seeds"] = checked_seeds(seeds, num_rows, single)
        try:
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"the model refused the observations: {_reason(error)}") from error
        arrays = {name: output.numpy() for name, output in outputs.items()}
        return {name: array[0] for name, array in arrays.items()} if single else arrays

    def _signature(self, name: str) -> Any:
        if name not in self._model.signatures:
            found = ", ".join(sorted(self._model.signatures)) or "none"
            advice = " Export with value_function=." if name == VALUE else ""
            raise ValueError(
                f"the model at {self.path} has no signature {name!r}, only {found}.{advice}"
            )
        return self._model.signatures[name]


def load_policy(path: str | os.PathLike[str]) -> LoadedPolicy:
    """Loads a policy that `export_policy` wrote.

    Careful: a SavedModel is a program. Load only those whose source you trust.

    Args:
        path: the model's base directory, of which the newest version is taken, or the directory
            of one version.

    Returns:
        The policy. Without `metadata.json` beside it (a model of another exporter, say), its
        spaces are unknown, and observations are given by the names of the inputs.

    Raises:
        ValueError: if there is no SavedModel, it is damaged, or it is not of the right kind; says
            what was found.

    >>> import tempfile
    >>> import numpy as np
    >>> from trpo_tf.policies import make_policy
    >>> from trpo_tf.saved_model import export_policy
    >>> policy = make_policy(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,)))
    >>> act = load_policy(export_policy(policy, tempfile.mkdtemp()))
    >>> act(np.zeros([5, 3])).shape, act(np.zeros(3)).shape
    ((5, 2), (2,))
    """
    version = find_version(path)
    try:
        model = tf.saved_model.load(str(version))
    except _LOADING_ERRORS as error:
        raise ValueError(
            f"the SavedModel at {version} cannot be read ({_reason(error)}); it may be damaged: "
            "export it again."
        ) from error
    signatures = getattr(model, "signatures", {})
    outputs = {name: sorted(found.structured_outputs) for name, found in signatures.items()}
    if "actions" not in outputs.get(DETERMINISTIC, ()):
        found = ", ".join(f"{name} ({', '.join(outputs[name])})" for name in sorted(outputs))
        raise ValueError(
            f"the SavedModel at {version} is no policy: it needs the signature "
            f"{DETERMINISTIC!r} with the output 'actions'; its signatures: {found or 'none'}."
        )
    return LoadedPolicy(version, model, _read_metadata(version))


def _read_metadata(version: Path) -> dict[str, Any]:
    path = version / "assets.extra" / METADATA_FILE
    if not path.exists():
        return {}
    try:
        # Stores of models keep files elsewhere and link to them.
        metadata = json.loads(read_plain_file(path.resolve(), MOST_METADATA_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(metadata).__name__}.")
    return metadata


def _space(metadata: Mapping[str, Any], name: str, path: Path) -> gym.Space | None:
    if name not in metadata:
        return None
    try:
        return space_from_json(metadata[name])
    except ValueError as error:
        raise ValueError(f"{name} in the metadata of {path}: {error}") from error


def _env_id(metadata: Mapping[str, Any]) -> str | None:
    training = metadata.get("training")
    env_id = training.get("env") if isinstance(training, dict) else None
    return env_id if isinstance(env_id, str) else None


def _reason(error: Exception) -> str:
    """The line that matters of TensorFlow's many."""
    lines = [line.strip() for line in str(getattr(error, "message", error)).splitlines()]
    telling = [line for line in lines if "must be finite" in line]
    return (telling or [line for line in lines if line] or [type(error).__name__])[0]
