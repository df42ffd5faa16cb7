"""What a served model says of itself, as JSON: spaces, signatures, how it came about."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import math
import os
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from trpo_tf import policies
from trpo_tf.distribution_parameters import class_name
from trpo_tf.run_record import RunRecord
from trpo_tf.space_json import space_to_json
from trpo_tf.types import EpisodeStats

METADATA_FILE = "metadata.json"
MOST_METADATA_BYTES = 16_000_000
FORMAT = 1
_PACKAGES = ("trpo_tf", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def model_card(
    policy: Any,
    observation_space: gym.Space,
    action_space: gym.Space,
    rescale_actions: bool,
    signatures: Mapping[str, Any],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """Describes an exported policy.

    Args:
        policy: the built Keras model.
        observation_space: what it takes.
        action_space: what its actions are sent to.
        rescale_actions: whether they come from [−1, 1].
        signatures: name to concrete function.
        training: how it came about.

    Returns:
        A dictionary that JSON can hold.

    Raises:
        TypeError: if `training` holds what JSON cannot.
    """
    return {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "observation_space": space_to_json(observation_space),
        "action_space": space_to_json(action_space),
        "rescale_actions": rescale_actions,
        "signatures": {name: _signature(function) for name, function in signatures.items()},
        "policy": {
            "class": type(policy).__name__,
            "distribution": class_name(policy(policies.zero_observations(observation_space, 1))),
            "parameters": sum(int(np.prod(v.shape)) for v in policy.trainable_variables),
            "updates": int(policies.policy_version(policy)),
        },
        "training": json_value(training),
        "packages": _versions(),
    }


def training_summary(record: RunRecord, updates: int, env_steps: int | None) -> dict[str, Any]:
    """How a policy was trained, for the `metadata` of `export_policy`.

    Args:
        record: the run's.
        updates: how many there were.
        env_steps: how many the environments took; None if it is not known.

    >>> from trpo_tf.config import TRPOConfig
    >>> spaces = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)
    >>> record = RunRecord(TRPOConfig(env="CartPole-v1"), {"env": "flag"}, *spaces)
    >>> summary = training_summary(record, 3, 6144)
    >>> summary["env"], summary["preset"], summary["updates"], summary["env_steps"]
    ('CartPole-v1', 'default', 3, 6144)
    """
    presets = {origin for origin in record.origins.values() if origin.startswith("preset ")}
    return {
        "env": record.config.env,
        "preset": min(presets, default="default").removeprefix("preset "),
        "started": record.sessions[0].get("started") if record.sessions else None,
        "updates": updates,
        "env_steps": env_steps,
        "config": record.config.to_json(),
        "origins": dict(record.origins),
    }


def returns_summary(evaluation: EpisodeStats | None) -> dict[str, Any]:
    """What whole episodes of the deterministic policy returned, beside the summary; empty if none.

    >>> returns_summary(EpisodeStats(np.array([1.0, 3.0]), np.array([5, 6])))
    {'returns': {'mean': 2.0, 'std': 1.0, 'episodes': 2}}
    """
    if evaluation is None:
        return {}
    returns = evaluation.returns
    return {
        "returns": {
            "mean": float(returns.mean()),
            "std": float(returns.std()),
            "episodes": len(returns),
        }
    }


def json_value(value: Any) -> Any:
    """Turns numbers of NumPy, arrays, dataclasses and paths into what JSON holds.

    Numbers that JSON lacks (NaN, infinities) become texts.

    Raises:
        TypeError: for anything else, naming its type.

    >>> json_value({"returns": np.array([1.0, np.nan]), "episodes": np.int64(2)})
    {'returns': [1.0, 'nan'], 'episodes': 2}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_value(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_value(value.tolist())
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(
        f"metadata must be what JSON can hold, got {type(value).__name__}; pass numbers, texts, "
        "lists and dictionaries."
    )


def _signature(function: Any) -> dict[str, Any]:
    inputs = function.structured_input_signature[1]
    return {
        "inputs": {name: _tensor(spec) for name, spec in inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in function.structured_outputs.items()},
    }


def _tensor(spec: Any) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
