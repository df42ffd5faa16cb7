"""Exported policies, asked in a process that has nothing but TensorFlow."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import zoo
from exported_policies import BOUNDED, KINDS, Exported, draw, recorded_calls
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_alone import Answer, Request, ask

from trpo_tf import draws, random, session_check, warmup
from trpo_tf.action_map import to_env_actions
from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.signatures import named_inputs
from trpo_tf.space_json import space_from_json
from trpo_tf.value_function import make_value_function
from trpo_tf.verification import VerificationError

tfd = tfp.distributions

BATCH_SIZES = (1, 7)


REORDERED = ["gaussian", "categorical", "multi_binary", "beta", "float64"]
ORDER = np.random.default_rng(0).permutation(1000)


def draw_seeds(num_rows: int, seed: int = 0) -> np.ndarray:
    info = np.iinfo(np.int32)
    return np.random.default_rng(seed).integers(info.min, info.max, (num_rows, 2), np.int32)


def inputs_of(space: gym.Space, observations: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in named_inputs(space, observations).items()}


def expected(exported: Exported, signature: str, observations: Any, seeds: Any) -> dict[str, Any]:
    """What the training side says, without the exporter's code."""
    distribution = exported.policy(observations)
    rescale = getattr(exported.policy, "rescale_actions", False)
    if signature == "serving_default":
        raw_actions = draws.deterministic_action(distribution)
        return {"actions": to_env_actions(exported.action_space, raw_actions, rescale)}
    if signature == "sample":
        raw_actions = draws.draw_rows(distribution, seeds)
        return {
            "actions": to_env_actions(exported.action_space, raw_actions, rescale),
            "raw_actions": raw_actions,
            "log_probs": distribution.log_prob(raw_actions),
        }
    return {"values": exported.value_function(observations)}


class Standard(keras.Model):
    """A standard normal: what it draws is its noise."""

    def call(self, observations: Any) -> Any:
        scale = tf.ones([], observations.dtype)
        return tfd.Independent(tfd.Normal(tf.zeros_like(observations), scale), 1)


def standard_requests(base: Path, dtype: str) -> dict[Any, Request]:
    space = gym.spaces.Box(-np.inf, np.inf, (3,), dtype)
    path = export_policy(
        Standard(dtype=dtype),
        base / dtype,
        observation_space=space,
        action_space=space,
        verify=False,
    )
    inputs = {"observations": np.zeros([50, 3], dtype), "seeds": draw_seeds(50)}
    return {("noise", dtype): Request(str(path), "sample", inputs)}


def plain_requests(kind: str, exported: Exported) -> dict[Any, Request]:
    requests = {}
    signatures = ["serving_default", "sample", "distribution", "value"]
    for signature, rows in itertools.product(signatures, BATCH_SIZES):
        inputs = inputs_of(exported.observation_space, draw(exported.observation_space, rows, 1))
        if signature == "sample":
            inputs["seeds"] = draw_seeds(rows)
        requests[kind, signature, rows] = Request(str(exported.path), signature, inputs)
    return requests


def reordered_requests(kind: str, exported: Exported) -> dict[Any, Request]:
    """1000 rows together, in another order, and the first of them alone."""
    rows = inputs_of(exported.observation_space, draw(exported.observation_space, len(ORDER), 2))
    rows["seeds"] = draw_seeds(len(ORDER), seed=2)
    batches = {"together": rows, "moved": {name: value[ORDER] for name, value in rows.items()}}
    for i in range(5):
        batches[f"alone {i}"] = {name: value[i : i + 1] for name, value in rows.items()}
    return {
        (kind, name): Request(str(exported.path), "sample", batch)
        for name, batch in batches.items()
    }


def warmup_requests(kind: str, exported: Exported) -> dict[Any, Request]:
    return {
        (kind, "warmup", call.signature, len(next(iter(call.inputs.values())))): Request(
            str(exported.path), call.signature, call.inputs
        )
        for call in recorded_calls(exported.path)
    }


@pytest.fixture(scope="module")
def answers(
    exports: dict[str, Exported], tmp_path_factory: pytest.TempPathFactory
) -> dict[Any, Answer]:
    """Everything that is asked of a process with TensorFlow alone, in one such process."""
    base = tmp_path_factory.mktemp("alone")
    requests = standard_requests(base, "float32") | standard_requests(base, "float64")
    for kind, exported in exports.items():
        requests |= plain_requests(kind, exported) | warmup_requests(kind, exported)
        if kind in REORDERED:
            requests |= reordered_requests(kind, exported)
    return dict(zip(requests, ask(list(requests.values()), base), strict=True))


def both(answer: Answer) -> Iterator[Mapping[str, Any]]:
    yield answer.loaded
    yield answer.session


def assert_same(got: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype.as_numpy_dtype, name
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("rows", BATCH_SIZES)
@pytest.mark.parametrize("signature", ["serving_default", "sample", "value"])
@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_alone_answers_as_the_training_side(
    answers: Any, exports: dict[str, Exported], kind: str, signature: str, rows: int
) -> None:
    exported = exports[kind]
    observations = draw(exported.observation_space, rows, 1)
    want = expected(exported, signature, observations, draw_seeds(rows))
    for got in both(answers[kind, signature, rows]):
        assert_same(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_actions_can_be_sent_to_the_environment(
    answers: Any, exports: dict[str, Exported], kind: str
) -> None:
    space = exports[kind].action_space
    for signature in ("serving_default", "sample"):
        for action in answers[kind, signature, 7].session["actions"]:
            assert space.contains(action if action.shape else space.dtype.type(action))


@pytest.mark.parametrize("rows", BATCH_SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_give_the_distribution_back(
    answers: Any, exports: dict[str, Exported], kind: str, rows: int
) -> None:
    sampled = answers[kind, "sample", rows].session
    for parameters in both(answers[kind, "distribution", rows]):
        assert all(len(value) == rows for value in parameters.values())
        distribution = rebuilt(parameters, exports[kind].action_space)
        if kind == "clipped_gaussian":
            low, high = zoo.HALF_OPEN.low, zoo.HALF_OPEN.high
            distribution = tfd.Independent(ClippedNormal(**parameters, low=low, high=high), 1)
        log_probs = distribution.log_prob(sampled["raw_actions"])
        np.testing.assert_allclose(log_probs, sampled["log_probs"], rtol=1e-5, atol=1e-5)


def rebuilt(parameters: Mapping[str, Any], action_space: gym.Space) -> Any:
    event_rank = len(action_space.shape or ())
    names = set(parameters)
    if names == {"loc", "scale"}:
        return tfd.Independent(tfd.Normal(**parameters), event_rank)
    if names == {"loc", "scale_diag"}:
        return tfd.MultivariateNormalDiag(**parameters)
    if names == {"loc", "scale_tril"}:
        return tfd.MultivariateNormalTriL(**parameters)
    if names == {"concentration0", "concentration1"}:
        return tfd.Independent(tfd.Beta(**parameters), event_rank)
    assert names == {"logits"}
    if isinstance(action_space, gym.spaces.MultiBinary):
        return tfd.Independent(tfd.Bernoulli(**parameters), event_rank)
    return tfd.Independent(tfd.Categorical(**parameters), event_rank)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_the_generator_s_bits(answers: Any, dtype: str) -> None:
    """A standard normal policy answers with its noise: the same bits here, loaded and served."""
    noise = random.row_normals(draw_seeds(50), 3, tf.as_dtype(dtype)).numpy()
    for got in both(answers["noise", dtype]):
        assert got["raw_actions"].dtype == dtype
        assert got["raw_actions"].tobytes() == noise.tobytes()


@pytest.mark.parametrize("kind", REORDERED)
def test_a_row_s_draw_depends_on_its_own_seed_alone(answers: Any, kind: str) -> None:
    together = answers[kind, "together"].session
    for name, value in together.items():
        moved = answers[kind, "moved"].session[name]
        np.testing.assert_allclose(moved, value[ORDER], atol=1e-5)
        for row in range(5):
            alone = answers[kind, f"alone {row}"].session[name]
            np.testing.assert_allclose(alone, value[row : row + 1], atol=1e-5)
    assert len(np.unique(together["raw_actions"], axis=0)) > 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("signature", ["serving_default", "sample", "distribution", "value"])
def test_observations_that_are_not_finite_are_refused_by_name(
    exports: dict[str, Exported], signature: str, bad: float
) -> None:
    exported = exports["dict_observations"]
    inputs = inputs_of(exported.observation_space, draw(exported.observation_space, 3, 1))
    inputs["position"][1, 0] = bad
    if signature == "sample":
        inputs["seeds"] = draw_seeds(3)
    function = tf.saved_model.load(str(exported.path)).signatures[signature]
    with pytest.raises(tf.errors.InvalidArgumentError, match="input 'position' must be finite"):
        function(**{name: tf.constant(value) for name, value in inputs.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_named_and_has_a_batch_dimension(
    exports: dict[str, Exported], kind: str
) -> None:
    exported = exports[kind]
    names = set(inputs_of(exported.observation_space, draw(exported.observation_space, 1, 0)))
    outputs = {
        "serving_default": {"actions"},
        "sample": {"actions", "raw_actions", "log_probs"},
        "value": {"values"},
    }
    signatures = load_signature_defs(exported.path)
    assert set(signatures) - {"__saved_model_init_op"} == {*outputs, "distribution"}
    for signature in (*outputs, "distribution"):
        definition = signatures[signature]
        assert set(definition.inputs) == names | ({"seeds"} if signature == "sample" else set())
        assert signature == "distribution" or set(definition.outputs) == outputs[signature]
        for info in [*definition.inputs.values(), *definition.outputs.values()]:
            assert not info.tensor_shape.unknown_rank
            assert info.tensor_shape.dim[0].size == -1


def load_meta_graph(path: Path) -> Any:
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    [meta_graph] = model.meta_graphs
    return meta_graph


def load_signature_defs(path: Path) -> Any:
    return load_meta_graph(path).signature_def


@pytest.mark.parametrize("kind", KINDS)
def test_no_function_needs_xla_python_or_a_random_state(
    exports: dict[str, Exported], kind: str
) -> None:
    graph = load_meta_graph(exports[kind].path).graph_def
    nodes = [*graph.node, *itertools.chain(*(f.node_def for f in graph.library.function))]
    assert not any(f.attr["_XlaMustCompile"].b for f in graph.library.function)
    ops = {node.op for node in nodes}
    assert not ops & {"PyFunc", "EagerPyFunc", "RandomStandardNormal", "RandomUniform"}
    if draws.noise_spec(exports[kind].policy(draw(exports[kind].observation_space, 2, 0))):
        assert not {op for op in ops if "Random" in op or "Multinomial" in op}


@pytest.mark.parametrize("kind", KINDS)
def test_the_warmup_file_replays(answers: Any, kind: str) -> None:
    replayed = {key[2:]: answer for key, answer in answers.items() if key[:2] == (kind, "warmup")}
    signatures = ["serving_default", "sample", "distribution", "value"]
    assert set(replayed) == set(itertools.product(signatures, warmup.BATCH_SIZES))
    for (_, rows), answer in replayed.items():
        assert all(len(value) == rows for value in answer.session.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_passes_the_checks_of_a_session(exports: dict[str, Exported], kind: str) -> None:
    assert list(session_check.failures(exports[kind].path)) == []


def test_the_warmup_file_keeps_what_the_policy_answers(exports: dict[str, Exported]) -> None:
    exported = exports["dict_observations"]
    for log in warmup.read_warmup(exported.path):
        call = log.predict_log
        signature = call.request.model_spec.signature_name
        if signature == "distribution":
            continue
        rows = {name: tf.make_ndarray(proto) for name, proto in call.request.inputs.items()}
        observations = {
            "position": rows["position"],
            "mode": rows["mode"],
            "nested": {"switches": rows["nested_switches"]},
        }
        want = expected(exported, signature, observations, rows.get("seeds"))
        got = {name: tf.make_ndarray(proto) for name, proto in call.response.outputs.items()}
        assert_same(got, want)


class Forgetful(keras.Model):
    """A policy whose answers are not those of its graph: it counts its calls in Python."""

    calls = 0

    def call(self, observations: Any) -> Any:
        type(self).calls += 1
        return tfd.Independent(tfd.Normal(observations + float(self.calls), 1.0), 1)


def test_what_fails_its_proof_is_not_published(tmp_path: Path) -> None:
    space = gym.spaces.Box(-1, 1, (3,))
    base = tmp_path / "base"
    spaces = {"observation_space": space, "action_space": space}
    with pytest.raises(VerificationError, match="check 'answers' on signature 'distribution'"):
        export_policy(Forgetful(), base, **spaces)
    assert list(base.iterdir()) == []
    assert export_policy(Forgetful(), base, **spaces, verify=False).name == "1"


def test_a_policy_that_has_become_nan_is_not_published(tmp_path: Path) -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    policy.trainable_variables[0].assign(policy.trainable_variables[0] * np.nan)
    with pytest.raises(VerificationError, match=r"check 'finite' on .*'actions' is NaN"):
        export_policy(policy, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_the_newest_versions_are_kept(tmp_path: Path) -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    for _ in range(3):
        export_policy(policy, tmp_path, verify=False, keep_versions=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    with pytest.raises(ValueError, match="keep_versions must be >= 1, got 0"):
        export_policy(policy, tmp_path, keep_versions=0)


def test_the_metadata_describe_the_model(tmp_path: Path) -> None:
    policy = make_policy(zoo.DICTIONARY, BOUNDED, rescale_actions=True)
    policy.policy_version.assign(17)
    returns = np.array([1.0, np.inf])
    path = export_policy(
        policy, tmp_path, metadata={"env": "Walker2d-v5", "returns": returns}, verify=False
    )
    card = json.loads((path / "assets.extra" / "metadata.json").read_text())
    assert space_from_json(card["observation_space"]) == zoo.DICTIONARY
    assert space_from_json(card["action_space"]) == BOUNDED
    assert card["rescale_actions"] is True
    assert card["training"] == {"env": "Walker2d-v5", "returns": [1.0, "inf"]}
    assert card["policy"]["updates"] == 17
    assert card["policy"]["distribution"] == "Independent(Normal)"
    assert set(card["signatures"]) == {"serving_default", "sample", "distribution"}
    assert card["signatures"]["sample"]["inputs"]["seeds"] == {"dtype": "int32", "shape": [None, 2]}
    assert card["packages"]["tensorflow"] == tf.__version__


def test_a_policy_of_64_by_64_is_small(tmp_path: Path) -> None:
    walker = gym.spaces.Box(-np.inf, np.inf, (17,), np.float64), gym.spaces.Box(-1, 1, (6,))
    path = export_policy(
        make_policy(*walker), tmp_path, value_function=make_value_function(walker[0])
    )
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= 400_000


def test_versions_count_up_and_none_is_overwritten(tmp_path: Path) -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    paths = [export_policy(policy, tmp_path / "new" / "base", verify=False) for _ in range(2)]
    assert [path.name for path in paths] == ["1", "2"]
    (tmp_path / "new" / "base" / "10").mkdir()
    assert export_policy(policy, tmp_path / "new" / "base", verify=False).name == "11"


def test_exports_at_the_same_time_get_versions_of_their_own(tmp_path: Path) -> None:
    policies = [make_policy(zoo.VECTOR, zoo.TORQUES, seed=seed) for seed in range(2)]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda p=policy: paths.append(export_policy(p, tmp_path)))
        for policy in policies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == ["1", "2"]


KILLED_WHILE_WRITING = """
import os, signal, sys
import tensorflow as tf
import trpo_tf
from trpo_tf import saved_model
import gymnasium as gym
policy = trpo_tf.make_policy(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
saved_model.write_warmup = die
saved_model.export_policy(policy, sys.argv[1], verify=False)
"""


def test_a_killed_export_leaves_no_version(tmp_path: Path, repository: Path) -> None:
    base = tmp_path / "base"
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    export_policy(policy, base, verify=False)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(base)],
        cwd=repository,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9
    leftovers = [path.name for path in base.iterdir() if path.name != "1"]
    assert all(name.startswith(".tmp-") for name in leftovers)
    assert len(leftovers) == 1
    assert export_policy(policy, base, verify=False).name == "2"
    assert sorted(path.name for path in base.iterdir()) == ["1", "2"]


def test_an_export_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trpo_tf.saved_model.write_warmup", fail)
    with pytest.raises(OSError, match="No space left"):
        export_policy(make_policy(zoo.VECTOR, zoo.TORQUES), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most_bytes", [100, 3000, 20_000])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, most_bytes: int) -> None:
    # A file-size limit stands for it; what is too large first are variables, graph or requests.
    policy = make_policy(zoo.VECTOR, zoo.TORQUES, hidden_sizes=(8,))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            export_policy(policy, tmp_path, verify=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_policy_of_ones_own_gives_its_spaces(tmp_path: Path) -> None:
    policy = zoo.make("beta")
    with pytest.raises(ValueError, match="observation_space is needed to export HandWritten"):
        export_policy(policy, tmp_path)
    with pytest.raises(ValueError, match=r"pass action_space=env\.single_action_space"):
        export_policy(policy, tmp_path, observation_space=zoo.VECTOR)
    assert list(tmp_path.iterdir()) == []


def test_actions_that_do_not_fit_the_space_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape \(None, 2\), the action space .* \(None, 3\)"):
        export_policy(
            zoo.make("full_gaussian"),
            tmp_path,
            observation_space=zoo.VECTOR,
            action_space=gym.spaces.Box(-1, 1, (3,)),
        )


def test_what_is_no_distribution_is_refused(tmp_path: Path) -> None:
    class Plain(keras.Model):
        def call(self, observations: Any) -> Any:
            return observations

    with pytest.raises(TypeError, match=r"must return a tfp.distributions.Distribution, got "):
        export_policy(
            Plain(),
            tmp_path,
            observation_space=zoo.VECTOR,
            action_space=gym.spaces.Box(-1, 1, (3,)),
        )


def test_a_model_compiled_by_xla_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Compiled(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tf.function(tf.nn.tanh, jit_compile=True)

        def call(self, observations: Any) -> Any:
            return tfd.Independent(tfd.Normal(self.inner(observations), 1.0), 1)

    space = gym.spaces.Box(-1, 1, (3,))
    with pytest.raises(ValueError, match="jit_compile=True"):
        export_policy(Compiled(), tmp_path, observation_space=space, action_space=space)
    assert list(tmp_path.iterdir()) == []


def test_metadata_must_be_json(tmp_path: Path) -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    with pytest.raises(TypeError, match="metadata must be what JSON can hold, got object"):
        export_policy(policy, tmp_path, metadata={"what": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    policy = make_policy(zoo.VECTOR, zoo.TORQUES)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        export_policy(policy, tmp_path / "file")
