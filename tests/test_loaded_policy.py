"""Policies from SavedModels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import zoo

from trpo_tf import draws
from trpo_tf.action_map import to_env_actions
from trpo_tf.loaded_policy import LoadedPolicy, load_policy
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.value_function import make_value_function

SEEDS = np.array([[1, 2], [3, 4], [-5, 6]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models: of vectors, of dictionaries, of tuples."""
    base = tmp_path_factory.mktemp("models")
    for name in ("gaussian", "dict_observations", "tuple_observations", "categorical"):
        policy = zoo.make(name)
        value_function = make_value_function(policy.observation_space, hidden_sizes=(4,))
        export_policy(policy, base / name, value_function=value_function, verify=False)
    return base


@pytest.fixture(params=["gaussian", "dict_observations", "tuple_observations", "categorical"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def first(nest: Any) -> Any:
    return tf.nest.map_structure(lambda array: array[0], nest)


def test_a_batch_gets_the_answers_of_the_policy(base: Path, kind: str) -> None:
    policy, loaded = zoo.make(kind), load_policy(base / kind)
    observations = zoo.draw_observations(kind, 3, seed=1)
    distribution = policy(tf.nest.map_structure(tf.constant, observations))
    space = policy.action_space

    def sendable(actions: Any) -> Any:
        return to_env_actions(space, actions, rescale_actions=False)

    mode = draws.deterministic_action(distribution)
    np.testing.assert_allclose(loaded(observations), sendable(mode), atol=1e-5)
    np.testing.assert_array_equal(loaded(observations), loaded.act(observations))
    sample = loaded.sample(observations, SEEDS)
    raw_actions = draws.draw_rows(distribution, tf.constant(SEEDS, tf.int32))
    np.testing.assert_allclose(sample.raw_actions, raw_actions, atol=1e-5)
    np.testing.assert_allclose(sample.actions, sendable(raw_actions), atol=1e-5)
    np.testing.assert_allclose(sample.log_probs, distribution.log_prob(raw_actions), atol=1e-5)
    assert all(len(value) == 3 for value in loaded.distribution(observations).values())
    assert loaded.value(observations).shape == (3,)


def test_one_observation_gets_one_answer(base: Path, kind: str) -> None:
    loaded = load_policy(base / kind)
    observations = zoo.draw_observations(kind, 3, seed=1)
    np.testing.assert_allclose(loaded(first(observations)), loaded(observations)[0], atol=1e-6)
    sample, alone = loaded.sample(observations, SEEDS), loaded.sample(first(observations), SEEDS[0])
    for field, batch_field in zip(alone, sample, strict=True):
        np.testing.assert_allclose(field, batch_field[0], atol=1e-6)
    parameters = loaded.distribution(observations)
    for name, value in loaded.distribution(first(observations)).items():
        np.testing.assert_allclose(value, parameters[name][0], atol=1e-6)
    value = loaded.value(first(observations))
    assert value.shape == ()
    np.testing.assert_allclose(value, loaded.value(observations)[0], atol=1e-6)
    assert loaded.action_space.contains(loaded(loaded.observation_space.sample()))


def test_spaces_and_metadata_travel_along(base: Path, kind: str) -> None:
    loaded = load_policy(base / kind)
    assert loaded.observation_space == zoo.KINDS[kind].observation_space
    assert loaded.action_space == zoo.KINDS[kind].action_space
    assert loaded.metadata["policy"]["class"] == "Policy"
    assert loaded.path == base / kind / "1"


def test_a_vector_environment_s_observations_are_taken_as_they_are(tmp_path: Path) -> None:
    env = gym.make_vec("CartPole-v1", num_envs=3)
    policy = make_policy(env.single_observation_space, env.single_action_space)
    act = load_policy(export_policy(policy, tmp_path, verify=False))
    observations, _ = env.reset(seed=0)
    env.step(act(observations))


def test_the_newest_version_or_a_given_one(tmp_path: Path) -> None:
    for seed in range(2):
        export_policy(make_policy(zoo.VECTOR, zoo.TORQUES, seed=seed), tmp_path, verify=False)
    assert load_policy(tmp_path).path.name == "2"
    first_version = load_policy(str(tmp_path / "1"))
    expected = make_policy(zoo.VECTOR, zoo.TORQUES, seed=0)(np.ones([1, 3], np.float32)).mode()
    np.testing.assert_allclose(first_version(np.ones([1, 3])), expected, atol=1e-6)


REFUSED = {
    "width": ("gaussian", np.zeros([2, 4]), r"shape \[N, 3\], got \[2, 4\]"),
    "one of another width": ("gaussian", np.zeros(4), r"shape \[N, 3\], got \[4\]"),
    "rank": ("gaussian", np.zeros([2, 1, 3]), r"shape \[N, 3\], got \[2, 1, 3\]"),
    "ragged": ("gaussian", [[1.0, 2.0], [3.0]], "rows of different lengths"),
    "text": ("gaussian", [["a", "b", "c"]], "must be of dtype float32"),
    "structure": ("gaussian", {"position": np.zeros([1, 3])}, "observations"),
    "nan": ("gaussian", np.full(3, np.nan), r"refused .*'observations' must be finite"),
    "infinity": ("gaussian", np.full(3, np.inf), r"refused .*'observations' must be finite"),
    "array for dictionary": ("dict_observations", np.zeros(3), "must be a dictionary, got ndarray"),
    "missing key": (
        "dict_observations",
        {"position": np.zeros(2), "mode": 0},
        "must have the entries",
    ),
    "rows that differ": (
        "dict_observations",
        {
            "position": np.zeros([2, 2]),
            "mode": np.zeros(3, int),
            "nested": {"switches": np.zeros([2, 2], int)},
        },
        "must agree in their number of rows",
    ),
    "out of range": (
        "dict_observations",
        {"position": np.zeros(2), "mode": 2, "nested": {"switches": np.zeros(2, int)}},
        "must lie between -1 and 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_observations_that_do_not_fit_are_refused(base: Path, name: str) -> None:
    kind, observations, message = REFUSED[name]
    loaded = load_policy(base / kind)
    calls = (loaded, loaded.distribution, loaded.value, lambda o: loaded.sample(o, SEEDS[0]))
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(observations)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (SEEDS[:2], r"shape \[3, 2\], got int64 of shape \[2, 2\]"),
        (SEEDS[0], r"shape \[3, 2\], got int64 of shape \[2\]"),
        (SEEDS * 1.0, r"whole numbers of shape \[3, 2\], got float64"),
        (SEEDS + 2**40, "must fit into int32"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(base: Path, seeds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_policy(base / "gaussian").sample(np.zeros([3, 3]), seeds)


def test_a_model_without_values_says_so(tmp_path: Path) -> None:
    loaded = load_policy(
        export_policy(make_policy(zoo.VECTOR, zoo.TORQUES), tmp_path, verify=False)
    )
    with pytest.raises(ValueError, match=r"no signature 'value'.*Export with value_function="):
        loaded.value(np.zeros(3))


def save_other(path: Path, **signatures: Any) -> None:
    tf.saved_model.save(tf.Module(), str(path), signatures=signatures)


def test_what_is_no_policy_says_what_it_is(tmp_path: Path) -> None:
    double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], name="x")])
    save_other(tmp_path / "1", twice=double)
    with pytest.raises(ValueError, match="no policy: it needs the signature 'serving_default'"):
        load_policy(tmp_path)
    save_other(tmp_path / "2", serving_default=double)
    with pytest.raises(
        ValueError, match=r"output 'actions'; its signatures: serving_default \(y\)"
    ):
        load_policy(tmp_path)


def test_a_damaged_model_says_so(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "gaussian" / "1", tmp_path / "no_variables")
    shutil.rmtree(tmp_path / "no_variables" / "variables")
    shutil.copytree(base / "gaussian" / "1", tmp_path / "half_graph")
    graph = tmp_path / "half_graph" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    shutil.copytree(base / "gaussian" / "1", tmp_path / "half_variables")
    for data in (tmp_path / "half_variables" / "variables").glob("*.data-*"):
        data.write_bytes(data.read_bytes()[:100])
    for name in ("no_variables", "half_graph", "half_variables"):
        with pytest.raises(ValueError, match="cannot be read") as error:
            load_policy(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.fixture
def bare(base: Path, tmp_path: Path) -> LoadedPolicy:
    """A policy of dictionaries whose metadata are gone."""
    shutil.copytree(base / "dict_observations" / "1", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "assets.extra")
    return load_policy(tmp_path / "bare")


def test_without_metadata_inputs_are_given_by_name(base: Path, bare: LoadedPolicy) -> None:
    observations = zoo.draw_observations("dict_observations", 3, seed=1)
    named = {
        "position": observations["position"],
        "mode": observations["mode"],
        "nested_switches": observations["nested"]["switches"],
    }
    expected = load_policy(base / "dict_observations")(observations)
    assert bare.metadata == {}
    assert bare.observation_space is None
    np.testing.assert_allclose(bare(named), expected, atol=1e-6)
    np.testing.assert_allclose(bare(first(named)), expected[0], atol=1e-6)
    assert bare.sample(named, SEEDS).log_probs.shape == (3,)
    with pytest.raises(ValueError, match="the model takes"):
        bare({"position": observations["position"]})
    with pytest.raises(ValueError, match=r"position must have shape \(None, 2\), got \[3, 5\]"):
        bare({**named, "position": np.zeros([3, 5])})


def test_without_metadata_a_single_input_needs_no_name(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "gaussian" / "1", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "assets.extra")
    expected = load_policy(base / "gaussian")(np.ones([2, 3]))
    np.testing.assert_allclose(load_policy(tmp_path / "bare")(np.ones([2, 3])), expected)


@pytest.mark.parametrize("content", ["{", "[]", '{"observation_space": {"type": "Blob"}}'])
def test_damaged_metadata_are_named(base: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(base / "gaussian" / "1", tmp_path / "1")
    (tmp_path / "1" / "assets.extra" / "metadata.json").write_text(content)
    with pytest.raises(ValueError, match=r"metadata"):
        load_policy(tmp_path)


def test_the_environment_of_training_is_known(base: Path, tmp_path: Path) -> None:
    assert load_policy(base / "gaussian").env_id is None
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    assert (
        load_policy(export_policy(policy, tmp_path, metadata={"env": "A-v0"}, verify=False)).env_id
        == "A-v0"
    )
    card = tmp_path / "1" / "assets.extra" / "metadata.json"
    card.write_text(json.dumps({"training": [1]}))
    assert load_policy(tmp_path).env_id is None
