"""From a trained policy to a SavedModel that TensorFlow Serving loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf import policies, spaces
from trpo_tf.atomic_files import atomic_directory, remove_stale_temporaries
from trpo_tf.model_card import METADATA_FILE, model_card
from trpo_tf.model_versions import next_version, remove_old_versions
from trpo_tf.signatures import SAMPLE, named_inputs, signature_functions, trace_signatures
from trpo_tf.verification import verify_version
from trpo_tf.warmup import BATCH_SIZES, Call, example_observations, warmup_requests, write_warmup


def export_policy(
    policy: Any,
    export_dir: str | os.PathLike[str],
    *,
    value_function: Any | None = None,
    observation_space: gym.Space | None = None,
    action_space: gym.Space | None = None,
    rescale_actions: bool | None = None,
    metadata: Mapping[str, Any] | None = None,
    verify: bool = True,
    keep_versions: int | None = None,
) -> Path:
    """Writes a policy as the next version of a served model.

    `<export_dir>/<version>/` is a SavedModel of plain tensors and core ops that needs nothing but
    TensorFlow: signatures `serving_default`, `sample`, `distribution` and, with a value function,
    `value`, as `trace_signatures` lists them. It appears under its number only once it is whole
    and `verify_version` has found nothing, and no version is ever overwritten, so a running server
    may watch the directory. Warm-up requests with the policy's own answers, and `metadata.json`
    (spaces, signatures, versions), lie in its `assets.extra/`.

    Args:
        policy: a Keras model from observations to a `tfd.Distribution`.
        export_dir: the model's base directory; made if missing.
        value_function: a Keras model from observations to [N], for the signature `value`.
        observation_space: what the policy takes; may be left out for one of `make_policy`.
        action_space: what its actions are sent to; may be left out for one of `make_policy`.
        rescale_actions: whether [−1, 1] is mapped to the bounds of a Box; None: as the policy
            says, otherwise not.
        metadata: how the policy came about (environment, preset, configuration, training steps,
            returns …), anything that JSON can hold; kept under `training`.
        verify: whether the model is proven in a fresh process (some seconds) before it is
            published; without it only the graph is checked.
        keep_versions: how many of the newest versions stay, this one counted; the others are
            removed once it is published, and TensorFlow Serving then unloads them, also those
            that its config names (`remove_old_versions`). None keeps all.

    Returns:
        The version's directory.

    Raises:
        ValueError: if a space is missing or not supported, the policy does not fit its spaces,
            its graph holds what no server can run, or `keep_versions` is below 1.
        VerificationError: if the written model fails a check (a ValueError too); nothing is
            published then.
        TypeError: if the policy returns no distribution or `metadata` is no JSON.
        OSError: if the directory cannot be written.

    >>> import tempfile
    >>> from trpo_tf.policies import make_policy
    >>> policy = make_policy(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    >>> export_policy(policy, tempfile.mkdtemp()).name
    '1'
    """
    if keep_versions is not None and keep_versions < 1:
        raise ValueError(f"keep_versions must be >= 1, got {keep_versions}; None keeps all.")
    observation_space = _space(policy, "observation_space", observation_space)
    action_space = _space(policy, "action_space", action_space)
    spaces.validate_observation_space(observation_space)
    spaces.validate_action_space(action_space)
    if rescale_actions is None:
        rescale_actions = bool(getattr(policy, "rescale_actions", False))
    policies.build(policy, observation_space)
    signatures = trace_signatures(
        policy,
        observation_space,
        action_space,
        rescale_actions=rescale_actions,
        value_function=value_function,
    )
    functions = signature_functions(
        policy, action_space, rescale_actions=rescale_actions, value_function=value_function
    )
    calls = [
        _call(name, function, observation_space, num_rows)
        for name, function in functions.items()
        for num_rows in BATCH_SIZES
    ]
    card = model_card(
        policy, observation_space, action_space, rescale_actions, signatures, metadata or {}
    )
    base = Path(export_dir)
    if base.is_dir():
        # An exporter that was killed leaves a whole model's worth of them.
        remove_stale_temporaries(base)
    while True:
        version = base / str(next_version(base))
        try:
            with atomic_directory(version) as staging:
                _write(staging, base.absolute().name, signatures, calls, card)
                if verify:
                    verify_version(staging)
        except FileExistsError:
            # Another process may have published this number meanwhile.
            if next_version(base) == int(version.name):
                raise
        else:
            if keep_versions is not None:
                remove_old_versions(base, keep_versions)
            return version


def _space(policy: Any, name: str, given: gym.Space | None) -> gym.Space:
    space = getattr(policy, name, None) if given is None else given
    if space is None:
        raise ValueError(
            f"{name} is needed to export {type(policy).__name__}, which has none of its own; "
            f"pass {name}=env.single_{name}."
        )
    return space


def _write(
    staging: Path,
    model_name: str,
    signatures: Mapping[str, Any],
    calls: Sequence[Call],
    card: Mapping[str, Any],
) -> None:
    # Sessions, and so TensorFlow Serving, look for exactly the variables that functions read. A
    # Keras model as an attribute would save others (keras #19274): the raw ones are held instead.
    module = tf.Module()
    variables = {id(v): v for signature in signatures.values() for v in signature.variables}
    module.tf_variables = list(variables.values())
    try:
        tf.saved_model.save(
            module,
            str(staging),
            signatures=dict(signatures),
            options=tf.saved_model.SaveOptions(save_debug_info=False),
        )
        write_warmup(staging, warmup_requests(model_name, calls))
    except tf.errors.OpError as error:
        # TensorFlow's own word for a full disk.
        reason = str(error.message).splitlines()[0]
        raise OSError(f"{staging} cannot be written: {reason}") from error
    text = json.dumps(card, indent=2, allow_nan=False) + "\n"
    (staging / "assets.extra" / METADATA_FILE).write_text(text, encoding="utf-8")


def _call(signature: str, function: Any, observation_space: gym.Space, num_rows: int) -> Call:
    """An example request, answered by the models in this process."""
    observations = example_observations(observation_space, num_rows)
    inputs = named_inputs(observation_space, observations)
    if signature == SAMPLE:
        limits = np.iinfo(np.int32)
        generator = np.random.default_rng(num_rows)
        inputs["seeds"] = generator.integers(limits.min, limits.max, (num_rows, 2), np.int32)
    seeds = {"seeds": tf.constant(inputs["seeds"])} if signature == SAMPLE else {}
    outputs = function(tf.nest.map_structure(tf.constant, observations), **seeds)
    return Call(signature, inputs, {name: np.asarray(value) for name, value in outputs.items()})
