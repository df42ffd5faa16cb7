"""TensorFlow Serving's model config: which versions are served, and which label leads where.

Labels tell the story of a roll-out: `stable` takes the traffic, `canary` is tried out, `previous`
is what `stable` was before its last promotion. All of it lies in the one file that the server
reads, so that nothing has to be remembered elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf.atomic_files import atomic_write_text
from trpo_tf.model_versions import check_base, find_version

STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"


def read_config(path: str | os.PathLike[str]) -> model_server_config_pb2.ModelServerConfig:
    """Reads a model config in protobuf's text format.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no model config.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path} is no model config: {error}.") from error


def write_config(
    path: str | os.PathLike[str], config: model_server_config_pb2.ModelServerConfig
) -> None:
    """Writes a model config in one step, so that a server never reads half of it."""
    atomic_write_text(path, text_format.MessageToString(config))


def add_newest(config: model_server_config_pb2.ModelServerConfig, base: Path) -> int:
    """Serves the newest version of a policy beside those that are served already.

    Labels stay where they are: servers refuse a label that leads to a version which is not loaded
    yet. A model that is new in the config gets both labels, `stable` and `canary`, at once.

    Args:
        config: changed in place.
        base: the policy's base directory; its name is the model's.

    Returns:
        The version's number.

    Raises:
        ValueError: if there is no SavedModel in it, it is itself one version, or the model is
            served from elsewhere.
    """
    check_base(base)
    version = int(find_version(base).name)
    name = base.absolute().name
    for model in config.model_config_list.config:
        if model.name != name:
            continue
        if Path(model.base_path) != base.absolute():
            raise ValueError(
                f"{name} is served from {model.base_path}, not from {base.absolute()}."
            )
        _serve(model, {*model.model_version_policy.specific.versions, version})
        return version
    model = config.model_config_list.config.add(
        name=name, base_path=str(base.absolute()), model_platform="tensorflow"
    )
    _serve(model, {version})
    model.version_labels[STABLE] = model.version_labels[CANARY] = version
    return version


def try_out(config: model_server_config_pb2.ModelServerConfig, name: str) -> int:
    """Moves `canary` to the newest version that is served; returns it.

    Raises:
        ValueError: if the model is unknown, or the config does not name its versions.
    """
    model = find_model(config, name)
    version = max(_named_versions(model))
    model.version_labels[CANARY] = version
    return version


def promote(config: model_server_config_pb2.ModelServerConfig, name: str) -> int:
    """Moves `stable` to where `canary` is, and `previous` to where `stable` was; returns it.

    Older versions to which no label leads any more are served no longer; newer ones stay, so that
    they can be tried out next.

    Raises:
        ValueError: if the model is unknown or lacks one of the two labels, the config does not
            name its versions, or `canary` is `stable` already.
    """
    model = find_model(config, name)
    versions, labels = _named_versions(model), model.version_labels
    for label in (STABLE, CANARY):
        # Looking a label up would make it.
        if label not in labels:
            raise ValueError(
                f"{name} has no label {label!r} in the config, only "
                f"{', '.join(sorted(labels)) or 'none'}; write {STABLE} and {CANARY} into it once."
            )
    if labels[CANARY] == labels[STABLE]:
        raise ValueError(
            f"nothing to promote: {CANARY} and {STABLE} of {name} are version {labels[STABLE]}."
        )
    labels[PREVIOUS] = labels[STABLE]
    labels[STABLE] = labels[CANARY]
    newer = {version for version in versions if version > labels[STABLE]}
    _serve(model, newer | set(labels.values()))
    return int(labels[STABLE])


def roll_back(config: model_server_config_pb2.ModelServerConfig, name: str) -> int:
    """Moves `stable` back to `previous`, which is then no more; returns the version.

    `canary` stays, so that what was rolled back can be looked at and promoted again.

    Raises:
        ValueError: if the model is unknown or nothing was promoted before.
    """
    labels = find_model(config, name).version_labels
    if PREVIOUS not in labels:
        raise ValueError(f"nothing to roll back to: {name} was not promoted since its last return.")
    labels[STABLE] = labels[PREVIOUS]
    del labels[PREVIOUS]
    return int(labels[STABLE])


def find_model(config: model_server_config_pb2.ModelServerConfig, name: str) -> Any:
    """The `ModelConfig` of a name.

    Raises:
        ValueError: if there is none.
    """
    for model in config.model_config_list.config:
        if model.name == name:
            return model
    names = ", ".join(model.name for model in config.model_config_list.config) or "none"
    raise ValueError(f"there is no model {name!r} in the config; its models: {names}.")


def _named_versions(model: Any) -> list[int]:
    versions = list(model.model_version_policy.specific.versions)
    if not versions:
        policy = model.model_version_policy.WhichOneof("policy_choice") or "latest"
        raise ValueError(
            f"the config names no versions of {model.name} (its policy is {policy!r}); labels are "
            "moved between `specific` versions only: add the newest one with "
            f"--saved_models={model.base_path}."
        )
    return versions


def _serve(model: Any, versions: set[int]) -> None:
    del model.model_version_policy.specific.versions[:]
    model.model_version_policy.specific.versions.extend(sorted(versions))
