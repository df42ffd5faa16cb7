"""Exported policies in TensorFlow's C++ loader, the one inside TensorFlow Serving, XLA disabled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from exported_policies import KINDS, RELEASED, Exported, assert_same_answer, recorded_calls
from tensorflow.core.framework import attr_value_pb2

from trpo_tf import warmup

SOURCE = Path(__file__).with_name("load_saved_model.cc")
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
SIGNATURES = {"serving_default", "sample", "distribution", "value"}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program; skips where it cannot be compiled."""
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler: neither g++ nor clang++ is on the PATH")
    include, library = Path(tf.sysconfig.get_include()), Path(tf.sysconfig.get_lib())
    needed = [include / "tensorflow/cc/saved_model/loader.h", *(library / n for n in LIBRARIES)]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        pytest.skip(f"this TensorFlow is without its C++ interface: no {', '.join(missing)}")
    built = tmp_path_factory.mktemp("cpp") / "load_saved_model"
    done = subprocess.run(
        [
            compiler,
            # TensorFlow's headers warn about each other.
            "-w",
            *tf.sysconfig.get_compile_flags(),
            str(SOURCE),
            f"-o{built}",
            # The program itself names nothing of the library that registers ops and kernels.
            "-Wl,--no-as-needed",
            f"-L{library}",
            f"-Wl,-rpath,{library}",
            *(f"-l:{name}" for name in LIBRARIES),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


# --- what the program reads and writes ----------------------------------------------------------


def write_requests(path: Path, calls: Sequence[warmup.Call]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for call in calls:
            request = attr_value_pb2.NameAttrList(name=call.signature)
            for name, value in call.inputs.items():
                request.attr[name].tensor.CopyFrom(tf.make_tensor_proto(value))
            writer.write(request.SerializeToString())


def read_answers(path: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    answers = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        answer = attr_value_pb2.NameAttrList.FromString(record)
        tensors = {name: tf.make_ndarray(value.tensor) for name, value in answer.attr.items()}
        answers.append((answer.name, tensors))
    return answers


def run(program: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- what is served is what was trained ---------------------------------------------------------


@pytest.fixture(scope="module")
def answered(
    program: Path, exports: Mapping[str, Exported], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[warmup.Call, str, dict[str, np.ndarray]]]]:
    """Each model's recorded calls with the program's answers, all from one run of it."""
    directory = tmp_path_factory.mktemp("calls")
    versions = {kind: exported.path for kind, exported in exports.items()} | RELEASED
    calls = {name: recorded_calls(version) for name, version in versions.items()}
    arguments: list[Path] = []
    for index, (name, version) in enumerate(versions.items()):
        requests, answers = directory / f"{index}.requests", directory / f"{index}.answers"
        write_requests(requests, calls[name])
        arguments += version, requests, answers
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr
    found = dict(zip(versions, map(read_answers, arguments[2::3]), strict=True))
    return {
        name: [(call, *answer) for call, answer in zip(calls[name], found[name], strict=True)]
        for name in versions
    }


@pytest.mark.parametrize("name", [*KINDS, *RELEASED])
def test_every_signature_answers_as_the_policy_did(answered: Mapping[str, list], name: str) -> None:
    assert {signature for _, signature, _ in answered[name]} == SIGNATURES
    for call, signature, outputs in answered[name]:
        assert signature == call.signature
        assert_same_answer(outputs, call)


# --- and it refuses what a server would ---------------------------------------------------------


def save(path: Path, module: tf.Module, function: Callable[[tf.Tensor], tf.Tensor]) -> Path:
    traced = tf.function(lambda x: {"y": function(x)}, autograph=False)
    signature = traced.get_concrete_function(x=tf.TensorSpec([None, 3], tf.float32, "x"))
    tf.saved_model.save(module, str(path), signatures={"serving_default": signature})
    return path


def finite(path: Path) -> Path:
    return save(path, tf.Module(), lambda x: tf.debugging.check_numerics(x, "must be finite"))


def keras_variables(path: Path) -> Path:
    module = tf.Module()
    module.net = keras.layers.Dense(2)
    module.net.build([None, 3])
    return save(path, module, lambda x: module.net(x))


def inner_xla(path: Path) -> Path:
    return save(path, tf.Module(), tf.function(tf.nn.tanh, jit_compile=True))


REFUSED: dict[str, tuple[Callable[[Path], Path], float, str]] = {
    "NaN": (finite, np.nan, "must be finite"),
    "Keras variables": (keras_variables, 1.0, "Could not find variable"),
    "inner XLA": (inner_xla, 1.0, "XLA compilation disabled"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_server_would_refuse_is_refused(program: Path, tmp_path: Path, name: str) -> None:
    write, value, message = REFUSED[name]
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    inputs = {"x": np.full([2, 3], value, np.float32)}
    write_requests(requests, [warmup.Call("serving_default", inputs, {})])
    done = run(program, write(tmp_path / "1"), requests, answers)
    assert done.returncode == 1
    assert message in done.stderr
