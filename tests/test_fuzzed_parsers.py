"""Every reader of ours on texts and bytes from anywhere: only the documented errors come out.

`test_space_json` does the same for spaces, `test_rest_service` for whole requests.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from google.protobuf.message import DecodeError
from hypothesis.extra.numpy import arrays as arrays_of
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

import trpo_tf
from trpo_tf import (
    checkpoint,
    command_line,
    config,
    environment_ids,
    evaluate,
    loaded_policy,
    manifest,
    model_versions,
    provenance,
    run_record,
    saved_graph,
    training_session,
    warmup,
)
from trpo_tf.config import TRPOConfig
from trpo_tf.loaded_policy import LoadedPolicy
from trpo_tf.metrics import ProgressLog
from trpo_tf.npz_file import npz_bytes, read_npz
from trpo_tf.policies import make_policy
from trpo_tf.progress_file import ProgressFile, read_progress
from trpo_tf.run_record import RunRecord
from trpo_tf.samplers import Sampler
from trpo_tf.samplers.background_sampler import BackgroundSampler
from trpo_tf.serving import grpc_client, grpc_service, model_config, rest_client, tensor_json
from trpo_tf.serving.status_codes import ServingError

SPACES = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)
NAMES = config.setting_names()

fuzzed = hypothesis.settings(deadline=None, max_examples=200, derandomize=True, database=None)

HOSTILE = st.sampled_from(
    [
        *(
            "",
            "nan",
            "inf",
            "-inf",
            "1e999",
            "9" * 5_000,
            "0x10",
            "1_0",
            "１",
            "\0",
            "none",
            "true",
        ),
        *(
            "[" * 50_000,
            '{"a":' * 50_000,
            "-" * 5_000,
            "..",
            "../..",
            "/",
            "x/..",
            "NaN",
            "Infinity",
        ),
    ]
)
TEXT = HOSTILE | st.text(max_size=30) | st.from_regex(r"[-+0-9.eE_,:/]{0,12}")
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 2**31, True])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside a tree of JSON."""
    inner = enumerate(tree) if isinstance(tree, list) else ()
    inner = tree.items() if isinstance(tree, dict) else inner
    return [path, *(found for key, value in inner for found in places(value, (*path, key)))]


@st.composite
def spoilt_json(draw: st.DrawFn, whole: Any) -> bytes:
    """A good tree with another value in one place, or with one key more."""
    tree = json.loads(json.dumps(whole))
    *way, last = draw(st.sampled_from([place for place in places(tree) if place]))
    holder = tree
    for step in way:
        holder = holder[step]
    if isinstance(holder, dict) and draw(st.booleans()):
        last = draw(st.text(max_size=8))
    holder[last] = draw(JSON)
    return json.dumps(tree).encode()


@st.composite
def spoilt_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Good bytes, cut, with some others in between."""
    begin = draw(st.integers(0, len(whole)))
    end = draw(st.integers(begin, min(len(whole), begin + 8)))
    spoilt = whole[:begin] + draw(st.binary(max_size=8)) + whole[end:]
    return spoilt if draw(st.booleans()) else spoilt[: draw(st.integers(0, len(spoilt)))]


def answers(
    read: Callable[[], Any], errors: tuple[type[Exception], ...] = (ValueError,)
) -> Exception | None:
    """Reads; what is documented is given back, what is not documented fails the test."""
    caught = None
    try:
        read()
    except errors as error:
        caught = error
    # Words that can be shown; what stands in the input may be among them, but not all of it.
    assert caught is None or 0 < len(str(caught)) < 3_000
    return caught


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for what is read from a file."""
    return tmp_path_factory.mktemp("fuzzed") / "file.npz"


# --- settings -----------------------------------------------------------------------------------


@fuzzed
@hypothesis.given(st.sampled_from(NAMES), TEXT)
def test_settings_as_flags(name: str, text: str) -> None:
    answers(lambda: TRPOConfig(**{"env": "a", name: config.parse_setting(name, text)}))


@fuzzed
@hypothesis.given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON) | JSON)
def test_settings_as_json(settings: Any) -> None:
    error = answers(lambda: TRPOConfig.from_json(settings))
    if error is None:
        assert TRPOConfig.from_json(settings).to_json()


@fuzzed
@hypothesis.given(st.lists(TEXT | TEXT.map(lambda text: f"--{text}"), max_size=3))
def test_command_lines(arguments: list[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_integer("episodes", 20, "How many.", flag_values=values)
    flags.DEFINE_bool("stochastic", False, "Draw.", flag_values=values)
    assert command_line.run(lambda _: None, values, ["program", *arguments]) in (0, 2)


@fuzzed
@hypothesis.given(TEXT)
def test_arguments_of_an_environment(text: str) -> None:
    answers(lambda: evaluate._parse_env_kwargs(text))


@fuzzed
@hypothesis.given(TEXT.filter(lambda text: ":" not in text))
def test_ids_of_environments(text: str) -> None:
    answers(lambda: environment_ids.resolve_env_id(text), (ValueError, ImportError))
    answers(lambda: model_versions.default_base(text))


@fuzzed
@hypothesis.given(TEXT)
def test_default_places_of_models_are_below_theirs(text: str) -> None:
    try:
        base = model_versions.default_base(text)
    except ValueError:
        return
    assert base.parent == Path("saved_models")
    assert base.name not in ("", ".", "..")


# --- files of a run -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_record(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("record") / "config.json"
    session = provenance.describe_session(["train"])
    spoken = RunRecord(TRPOConfig(env="a"), {"env": "flag"}, *SPACES, (session,))
    run_record.write_record(path, spoken)
    return path.read_bytes()


@fuzzed
@hypothesis.given(st.data())
def test_config_json(file: Path, whole_record: bytes, data: st.DataObject) -> None:
    spoilt = spoilt_bytes(whole_record) | spoilt_json(json.loads(whole_record))
    file.write_bytes(data.draw(spoilt))
    error = answers(lambda: run_record.read_record(file))
    assert error is None or str(file) in str(error)


@fuzzed
@hypothesis.given(st.data())
def test_manifests(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "numbers").write_bytes(b"123")
    manifest.write_manifest(folder, "one")
    path = folder / manifest.FILE_NAME
    whole = path.read_bytes()
    spoilt = data.draw(spoilt_bytes(whole) | spoilt_json(json.loads(whole)))
    path.write_bytes(spoilt)
    damage = manifest.find_damage(folder, "one")
    assert (damage is None) == (spoilt == whole)


@fuzzed
@hypothesis.given(st.data())
def test_states(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("state")
    whole = {"env_steps": 1, "sampler": {"next_step": 2}, "progress": {"returns": [1.5]}}
    spoilt = spoilt_bytes(json.dumps(whole).encode()) | spoilt_json(whole)
    (folder / "state.json").write_bytes(data.draw(spoilt | st.just(b"[" * 50_000)))
    answers(lambda: checkpoint.read_state(checkpoint.Checkpoint(1, folder)))


def whole_counters() -> dict[str, Any]:
    sampler = {"next_step": 2, "env_steps": 1, "lost_rollouts": 0, "dropped_rollouts": 0}
    progress = {"update": 1, "env_steps": 1, "wall_time": 1.5}
    progress |= {"recent_returns": [1.5, float("-inf")], "recent_lengths": [3, 4]}
    counters = {"env_steps": 1, "sampler": sampler, "progress": progress}
    return {**counters, "best_return": 1.5, "exported": None}


def collectors_sampler(policy: Any) -> BackgroundSampler:
    return BackgroundSampler(policy, [], {"next_step": 0, "env_steps": 0}, 1, 1.0)


@pytest.mark.filterwarnings("ignore:.* of its .* rows; the file is gone")
@fuzzed
@hypothesis.given(st.data())
def test_counters_that_a_session_goes_on_from(
    tmp_path_factory: pytest.TempPathFactory, going_on: tuple[Sampler, Any], data: st.DataObject
) -> None:
    """What passes the check is taken up by all that it is for."""
    sampler, _ = going_on
    folder = tmp_path_factory.mktemp("counters")
    (folder / "state.json").write_bytes(data.draw(spoilt_json(whole_counters())))
    found = checkpoint.Checkpoint(1, folder)
    error = answers(lambda: training_session._checked_state(found))
    try:
        state = checkpoint.read_state(found)
    except ValueError:
        return
    taken = [sampler.restore, collectors_sampler(sampler.policy).restore]
    for restore in taken:
        refused = answers(lambda restore=restore: restore(state.get("sampler")))
        assert error is not None or refused is None
    refused = answers(
        lambda: ProgressLog(
            folder / "progress.csv", tensorboard_dir=folder, resume_state=state.get("progress", {})
        ).close()
    )
    assert error is not None or refused is None


@fuzzed
@hypothesis.given(st.data())
def test_arrays_that_environments_go_on_from(
    file: Path, going_on: tuple[Sampler, Any], data: st.DataObject
) -> None:
    sampler, arrays = going_on
    if data.draw(st.booleans()):
        file.write_bytes(data.draw(spoilt_bytes(npz_bytes(arrays))))
    else:
        name = data.draw(st.sampled_from(sorted(arrays)))
        dtype, shape = arrays[name].dtype, arrays[name].shape
        other = arrays_of(data.draw(st.sampled_from([dtype, np.dtype("float64")])), shape)
        file.write_bytes(npz_bytes({**arrays, name: data.draw(other)}))
    answers(lambda: sampler.go_on(read_npz(file)))


@pytest.fixture(scope="module")
def going_on() -> Iterator[tuple[Sampler, dict[str, np.ndarray]]]:
    """A sampler in environments that can be put back, and where they are."""
    env = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    spaces = env.single_observation_space, env.single_action_space
    sampler = Sampler(env, make_policy(*spaces, hidden_sizes=(2,)), num_steps=3)
    sampler.collect()
    arrays = sampler.exact_state()
    assert arrays is not None
    yield sampler, arrays
    sampler.close()


@fuzzed
@hypothesis.given(st.data())
def test_progress(file: Path, data: st.DataObject) -> None:
    file.unlink(missing_ok=True)
    with ProgressFile(file, ["update", "kl", "status"]) as progress:
        for update in range(1, 4):
            progress.append({"update": update, "kl": 0.1, "status": "ACCEPTED"})
    spoilt = spoilt_bytes(file.read_bytes())
    file.write_bytes(data.draw(spoilt | st.binary(max_size=60)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        answers(lambda: read_progress(file))
        answers(lambda: ProgressFile(file, ["update"], after=2).close())


# --- rollouts -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_rollout(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rollout") / "whole.npz"
    episode = {
        "observations": np.zeros([4, 1, 2], np.float32),
        "actions": np.zeros([3, 1], np.int64),
        "behaviour_log_probs": np.full([3, 1], np.log(0.5)),
        "rewards": np.ones([3, 1]),
        "terminated": np.zeros([3, 1], bool),
        "truncated": np.zeros([3, 1], bool),
    }
    trpo_tf.save_rollout(path, episode, *SPACES)
    return path.read_bytes()


@fuzzed
@hypothesis.given(st.data())
def test_logged_rollouts(file: Path, whole_rollout: bytes, data: st.DataObject) -> None:
    file.write_bytes(data.draw(spoilt_bytes(whole_rollout) | st.binary(max_size=60)))
    answers(lambda: trpo_tf.read_rollouts(file, *SPACES))
    answers(lambda: read_npz(file))


# --- served models ------------------------------------------------------------------------------

CARD = {
    "format": 1,
    "observation_space": {"type": "Discrete", "n": 3, "start": 0, "dtype": "int64"},
    "action_space": {"type": "MultiBinary", "n": 2},
    "training": {"env": "CartPole-v1", "returns": {"mean": 1.0}},
}


@fuzzed
@hypothesis.given(st.data())
def test_metadata(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("version")
    (path / "assets.extra").mkdir()
    spoilt = spoilt_bytes(json.dumps(CARD).encode()) | spoilt_json(CARD)
    (path / "assets.extra" / "metadata.json").write_bytes(
        data.draw(spoilt | st.just(b"[" * 50_000))
    )
    answers(lambda: LoadedPolicy(path, None, loaded_policy._read_metadata(path)))


@fuzzed
@hypothesis.given(st.data())
def test_predict_requests_and_answers(data: st.DataObject) -> None:
    dtypes = {"x": np.dtype("float32"), "n": np.dtype("int32")}
    request = {"signature_name": "sample", "inputs": {"x": [[1.5]], "n": [1]}}
    rows = {"instances": [{"x": [1.5], "n": 1}, {"x": [2.5], "n": 2}]}
    body = data.draw(spoilt_json(request) | spoilt_json(rows) | st.binary(max_size=40))
    answers(
        lambda: tensor_json.decode_inputs(tensor_json.parse_predict(body), dtypes), (ServingError,)
    )
    answer = data.draw(
        spoilt_json({"outputs": {"x": [[1.5]], "n": [1]}}) | st.sampled_from([b"[" * 50_000, b"{}"])
    )
    answers(lambda: tensor_json.decode_outputs(answer, dtypes))


@fuzzed
@hypothesis.given(st.data())
def test_what_servers_say_of_a_model_over_rest(data: st.DataObject) -> None:
    tensor = {
        "dtype": "DT_FLOAT",
        "name": "x:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]},
    }
    definition = {"inputs": {"x": tensor}, "outputs": {"y": tensor}, "method_name": "predict"}
    metadata = {"metadata": {"signature_def": {"signature_def": {"sample": definition}}}}
    odd = st.sampled_from([b"[" * 50_000, b'{"metadata": {"signature_def": 7}}', b"{}", b"\xff"])
    answer = data.draw(spoilt_json(metadata) | spoilt_bytes(json.dumps(metadata).encode()) | odd)
    answers(lambda: rest_client._signatures(answer), (ServingError,))
    status = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {}}]}
    answer = data.draw(spoilt_json(status) | spoilt_bytes(json.dumps(status).encode()) | odd)
    answers(lambda: rest_client._status(answer), (ServingError,))


def signature_map(dtype: int, size: int) -> get_model_metadata_pb2.SignatureDefMap:
    found = get_model_metadata_pb2.SignatureDefMap()
    info = found.signature_def["sample"].inputs["x"]
    info.dtype = dtype
    info.tensor_shape.dim.add(size=size)
    return found


@fuzzed
@hypothesis.given(st.data())
def test_what_servers_say_of_a_model_over_grpc(data: st.DataObject) -> None:
    numbers = st.sampled_from([-(2**31), -1, 0, 1, 9, 20, 21, 31, 101, 999, 2**31 - 1])
    whole = signature_map(data.draw(numbers), data.draw(numbers))
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.metadata["signature_def"].Pack(whole)
    packed = answer.metadata["signature_def"]
    packed.value = data.draw(st.just(packed.value) | spoilt_bytes(packed.value))
    answers(lambda: grpc_client._signatures(answer), (ServingError,))
    packed.type_url = data.draw(TEXT)
    error = answers(lambda: grpc_client._signatures(answer), (ServingError,))
    assert isinstance(error, ServingError)


@fuzzed
@hypothesis.given(st.data())
def test_tensors_over_grpc(data: st.DataObject) -> None:
    array = np.float32([[1.5, 2.5]])
    content, listed = tf.make_tensor_proto(array), tf.make_tensor_proto([[7, 8]])
    whole = data.draw(st.sampled_from([content, listed])).SerializeToString()
    proto = tensor_pb2.TensorProto()
    try:
        proto.ParseFromString(data.draw(spoilt_bytes(whole)))
    except DecodeError:
        return  # gRPC refuses it before anything of ours
    answers(lambda: grpc_service._array("x", proto), (ServingError,))
    answer = predict_pb2.PredictResponse()
    answer.outputs["y"].CopyFrom(proto)
    answers(lambda: grpc_client._prediction(answer), (ServingError,))


@fuzzed
@hypothesis.given(st.data())
def test_graphs_of_models(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("version")
    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.signature_def["sample"].outputs["y"].name = "y:0"
    node = graph.graph_def.node.add(name="y", op="Identity", input=["x"])
    node.attr["f"].func.name = "called"
    graph.graph_def.node.add(name="x", op="Placeholder")
    graph.graph_def.library.function.add().signature.name = "called"
    whole = model.SerializeToString()
    (path / "saved_model.pb").write_bytes(data.draw(st.just(whole) | spoilt_bytes(whole)))

    def read() -> None:
        meta_graph = saved_graph.read_meta_graph(path)
        for signature in saved_graph.signatures(meta_graph).values():
            saved_graph.signature_graph(meta_graph.graph_def, signature)

    answers(read)


# Each reads two files through tf.data, which takes a second on a busy machine.
@hypothesis.settings(fuzzed, max_examples=8)
@hypothesis.given(st.data())
def test_warm_up_requests(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    version = tmp_path_factory.mktemp("version")
    calls = [warmup.Call("sample", {"x": np.float32([[1.5]])}, {})]
    path = warmup.write_warmup(version, warmup.warmup_requests("m", calls))
    path.write_bytes(data.draw(spoilt_bytes(path.read_bytes())))
    answers(lambda: warmup.read_warmup(version))
    # What is whole as a record may be no request.
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(data.draw(st.binary(max_size=20)))
    answers(lambda: warmup.read_warmup(version))


@fuzzed
@hypothesis.given(st.data())
def test_model_configs(file: Path, data: st.DataObject) -> None:
    whole = b"""model_config_list {
        config {
            name: "m" base_path: "/m"
            model_version_policy { specific { versions: 1 } }
            version_labels { key: "s" value: 1 }
        }
    }"""
    nested = st.just(b"model_config_list { config { " * 20_000)
    file.write_bytes(data.draw(spoilt_bytes(whole) | nested | st.binary(max_size=60)))
    answers(lambda: model_config.read_config(file))
