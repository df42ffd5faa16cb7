"""One table: every kind of policy in every way that a policy is run, against a float64 twin.

A cell compares the distribution's parameters, the log-probabilities of given actions and the
deterministic action. A test below holds the table complete.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from exported_policies import Exported
from tensorflow_alone import Answer, Request, ask

from trpo_tf import heads, torsos
from trpo_tf.action_map import to_env_actions
from trpo_tf.checkpoint import latest_checkpoint, restore_checkpoint, save_checkpoint
from trpo_tf.distribution_parameters import named_parameters
from trpo_tf.draws import deterministic_action
from trpo_tf.signatures import named_inputs
from trpo_tf.spaces import observation_specs

NUM_ROWS = 6
Outputs = dict[str, np.ndarray]


# --- what a cell looks at -----------------------------------------------------------------------


def policy_of(kind: str, dtype: str = "float32", seed: int = 0) -> keras.Model:
    """With statistics of its own where the kind has a normaliser."""
    policy = zoo.make(kind, dtype=dtype, seed=seed)
    if hasattr(policy, "update_statistics"):
        rows = zoo.draw_observations(kind, 30, seed=seed + 5, dtype=dtype)
        policy.update_statistics(rows, np.ones(30, dtype))
    return policy


def observations_of(kind: str) -> Any:
    rows = zoo.draw_observations(kind, NUM_ROWS, seed=1)
    return tf.nest.map_structure(tf.constant, rows)


def actions_of(kind: str) -> Any:
    """Rounded to float32, well inside the support."""
    distribution = policy_of(kind)(observations_of(kind))
    return distribution.sample(seed=(3, 4))


def look(policy: keras.Model, observations: Any, actions: Any) -> dict[str, Any]:
    distribution = policy(observations)
    num_rows = tf.shape(tf.nest.flatten(observations)[0])[0]
    return {
        **named_parameters(distribution, num_rows),
        "log_prob": distribution.log_prob(actions),
        "deterministic": deterministic_action(distribution),
    }


def twin_outputs(kind: str, policy: keras.Model) -> Outputs:
    """The same numbers in float64, eagerly."""
    twin = policy_of(kind, "float64")
    twin.set_weights([np.float64(weights) for weights in policy.get_weights()])

    def widen(tensor: Any) -> Any:
        return tf.cast(tensor, "float64") if tensor.dtype == tf.float32 else tensor

    observations = tf.nest.map_structure(widen, observations_of(kind))
    return as_arrays(look(twin, observations, widen(actions_of(kind))))


def as_arrays(outputs: dict[str, Any]) -> Outputs:
    return {name: np.asarray(tensor) for name, tensor in outputs.items()}


# --- the columns: kind to outputs ---------------------------------------------------------------


def eager(kind: str, directory: Path) -> Outputs:
    """Row by row, so a row does not know its batch."""
    policy, observations, actions = policy_of(kind), observations_of(kind), actions_of(kind)
    rows = [
        as_arrays(look(policy, *tf.nest.map_structure(lambda t, i=i: t[i : i + 1], inputs)))
        for i in range(NUM_ROWS)
        for inputs in [(observations, actions)]
    ]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def graph(kind: str, directory: Path) -> Outputs:
    function = tf.function(lambda *inputs: look(policy, *inputs))
    policy = policy_of(kind)
    return as_arrays(function(observations_of(kind), actions_of(kind)))


def xla(kind: str, directory: Path) -> Outputs:
    function = tf.function(lambda *inputs: look(policy, *inputs), jit_compile=True)
    policy = policy_of(kind)
    return as_arrays(function(observations_of(kind), actions_of(kind)))


def unknown_batch(kind: str, directory: Path) -> Outputs:
    """One trace for every number of rows."""
    policy, observations, actions = policy_of(kind), observations_of(kind), actions_of(kind)
    signature = [
        observation_specs(zoo.KINDS[kind].observation_space),
        tf.TensorSpec([None, *actions.shape[1:]], actions.dtype),
    ]
    function = tf.function(lambda *inputs: look(policy, *inputs), input_signature=signature)
    first = tf.nest.map_structure(lambda t: t[:1], (observations, actions))
    rest = tf.nest.map_structure(lambda t: t[1:], (observations, actions))
    parts = [as_arrays(function(*inputs)) for inputs in (first, rest)]
    assert function.experimental_get_tracing_count() == 1
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def checkpoint(kind: str, directory: Path) -> Outputs:
    """From one policy into another of other weights; bit for bit."""
    source, target = policy_of(kind), policy_of(kind, seed=9)
    save_checkpoint(directory, 1, {"policy": source}, {})
    found = latest_checkpoint(directory)
    assert found is not None
    restore_checkpoint(found, {"policy": target})
    outputs = [
        as_arrays(look(policy, observations_of(kind), actions_of(kind)))
        for policy in (source, target)
    ]
    for name, value in outputs[0].items():
        assert value.tobytes() == outputs[1][name].tobytes()
    return outputs[1]


COLUMNS: dict[str, Callable[[str, Path], Outputs]] = {
    "eager": eager,
    "graph": graph,
    "xla": xla,
    "unknown_batch": unknown_batch,
    "checkpoint": checkpoint,
}


# --- the table ----------------------------------------------------------------------------------


def assert_close(got: Outputs, expected: Outputs) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", zoo.KINDS)
def test_cell(kind: str, column: str, tmp_path: Path) -> None:
    assert_close(COLUMNS[column](kind, tmp_path), twin_outputs(kind, policy_of(kind)))


@pytest.fixture(scope="module")
def answers(
    exports: Mapping[str, Exported], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Answer]:
    """Every exported kind asked in one process without Keras, TFP or trpo_tf."""
    requests = {}
    for kind in zoo.KINDS:
        rows = tf.nest.map_structure(lambda part: part.numpy(), observations_of(kind))
        inputs = named_inputs(exports[kind].observation_space, rows)
        seeds = np.arange(2 * NUM_ROWS, dtype=np.int32).reshape(NUM_ROWS, 2)
        for signature in ("serving_default", "distribution", "sample"):
            extra = {"seeds": seeds} if signature == "sample" else {}
            requests[kind, signature] = Request(
                str(exports[kind].path), signature, {**inputs, **extra}
            )
    return dict(
        zip(requests, ask(list(requests.values()), tmp_path_factory.mktemp("answers")), strict=True)
    )


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_saved_model(
    kind: str, exports: Mapping[str, Exported], answers: dict[tuple[str, str], Answer]
) -> None:
    policy, observations = exports[kind].policy, observations_of(kind)
    expected = twin_outputs(kind, policy)
    action_space = zoo.KINDS[kind].action_space
    actions = to_env_actions(action_space, expected.pop("deterministic"), rescale_actions=False)
    del expected["log_prob"]
    for loader in Answer._fields:
        replies = {
            signature: getattr(answers[kind, signature], loader)
            for signature in ("serving_default", "distribution", "sample")
        }
        assert_close(replies["distribution"], expected)
        assert_close(replies["serving_default"], {"actions": actions.numpy()})
        drawn = replies["sample"]
        log_probs = policy(observations).log_prob(drawn["raw_actions"])
        np.testing.assert_allclose(drawn["log_probs"], log_probs, rtol=1e-4, atol=2e-5)
        sendable = to_env_actions(action_space, drawn["raw_actions"], rescale_actions=False)
        np.testing.assert_array_equal(drawn["actions"], sendable)


# --- completeness -------------------------------------------------------------------------------


def layers_of(module: Any) -> set[type]:
    return {
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, keras.layers.Layer) and member.__module__ == module.__name__
    }


def test_every_head_and_torso_has_its_row() -> None:
    policies = [zoo.make(kind) for kind in zoo.MADE]
    assert {type(policy.head) for policy in policies} == layers_of(heads)
    assert {type(policy.torso) for policy in policies} == layers_of(torsos)


def test_every_row_that_was_promised() -> None:
    promised = {
        "gaussian",
        "state_dependent_gaussian",
        "clipped_gaussian",
        "categorical",
        "multi_discrete",
        "multi_binary",
        "image",
        "dict_observations",
    }
    assert promised <= zoo.KINDS.keys()
    assert zoo.HAND_WRITTEN
    assert zoo.KINDS.keys() == zoo.MADE.keys() | zoo.HAND_WRITTEN.keys()


def test_every_column_that_was_promised() -> None:
    promised = {"eager", "graph", "xla", "unknown_batch", "saved_model", "checkpoint"}
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert promised == COLUMNS.keys() | ({"saved_model"} & tests)
