"""The traps of serving: each is refused, for its own reason."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from trpo_tf import random, verification, warmup
from trpo_tf.interruption import Interruption
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.verification import VerificationError, verify_version

REPOSITORY = Path(__file__).resolve().parent.parent
OBSERVATIONS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
SEEDS = np.arange(8, dtype=np.int32).reshape(4, 2)
SPEC = tf.TensorSpec([None, 3], tf.float32, "observations")


def save(path: Path, module: tf.Module, functions: Mapping[str, Callable[..., Any]]) -> Path:
    """A SavedModel of functions of finite observations (and seeds), with warm-up requests."""
    signatures, calls = {}, []
    for name, function in functions.items():
        arguments = {"observations": SPEC}
        rows: dict[str, np.ndarray] = {"observations": OBSERVATIONS}
        if name == "sample":
            arguments["seeds"] = tf.TensorSpec([None, 2], tf.int32, "seeds")
            rows["seeds"] = SEEDS

        def checked(observations: Any, function: Any = function, **seeds: Any) -> Any:
            finite = tf.debugging.check_numerics(observations, "must be finite")
            return function(finite, **seeds)

        traced = tf.function(checked, autograph=False)
        signatures[name] = traced.get_concrete_function(**arguments)
        for size in (1, 4):
            batch = {key: value[:size] for key, value in rows.items()}
            calls.append(warmup.Call(name, batch, {}))
    tf.saved_model.save(module, str(path), signatures=signatures)
    warmup.write_warmup(path, warmup.warmup_requests("trap", calls))
    return path


def keras_variables(path: Path) -> Path:
    """A module that holds a Keras model: its variables are saved where no session looks."""
    module = tf.Module()
    module.net = keras.layers.Dense(2)
    module.net.build([None, 3])
    return save(path, module, {"serving_default": lambda x: {"actions": module.net(x)}})


def inner_xla(path: Path) -> Path:
    compiled = tf.function(tf.nn.tanh, jit_compile=True)
    return save(path, tf.Module(), {"serving_default": lambda x: {"actions": compiled(x)}})


def python_op(path: Path) -> Path:
    def actions(x: Any) -> Any:
        return {"actions": tf.ensure_shape(tf.numpy_function(np.tanh, [x], tf.float32), [None, 3])}

    return save(path, tf.Module(), {"serving_default": actions})


def scalar_output(path: Path) -> Path:
    def actions(x: Any) -> Any:
        return {"actions": tf.tanh(x), "scale": tf.constant(0.5)}

    return save(path, tf.Module(), {"serving_default": actions})


def whole_batch_seed(path: Path) -> Path:
    def sample(x: Any, seeds: Any) -> Any:
        return {"actions": x + tf.random.stateless_normal(tf.shape(x), seeds[0])}

    return save(path, tf.Module(), {"sample": sample})


def drawing_default(path: Path) -> Path:
    def actions(x: Any) -> Any:
        return {"actions": x + tf.random.stateless_normal(tf.shape(x), [1, 2])}

    return save(path, tf.Module(), {"serving_default": actions})


TRAPS: dict[str, tuple[Callable[[Path], Path], str, str, str]] = {
    "Keras variables": (keras_variables, "run", "serving_default", "Could not find variable"),
    "inner XLA": (inner_xla, "graph", "serving_default", "jit_compile=True"),
    "Python op": (python_op, "graph", "serving_default", "calls a Python function"),
    "scalar output": (scalar_output, "batch", "serving_default", r"output 'scale' has shape \[\]"),
    "whole-batch seed": (
        whole_batch_seed,
        "rows",
        "sample",
        r"row 1 alone: .* differs .* by up to",
    ),
    "drawing serving_default": (drawing_default, "graph", "serving_default", "random op"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused_for_its_reason(tmp_path: Path, name: str) -> None:
    write, check, signature, difference = TRAPS[name]
    path = write(tmp_path / "1")
    with pytest.raises(VerificationError, match=difference) as refused:
        verify_version(path)
    assert [(failure.check, failure.signature) for failure in refused.value.failures] == [
        (check, signature)
    ]
    assert f"check {check!r} on signature {signature!r}: " in str(refused.value)


def test_seeds_of_their_own_pass(tmp_path: Path) -> None:
    def sample(x: Any, seeds: Any) -> Any:
        return {"actions": x + random.row_normals(seeds, 3, tf.float32)}

    verify_version(save(tmp_path, tf.Module(), {"sample": sample}))


def test_ctrl_c_is_for_this_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal sends it to both; the check goes on, and here it is noted."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "for process in os.getpid(), os.getppid():\n"
        "    os.kill(process, signal.SIGINT)\n"
        "print([])\n"
    )
    monkeypatch.setattr(verification, "_SCRIPT", script)
    path = save(tmp_path / "1", tf.Module(), {"serving_default": lambda x: {"actions": x}})
    with Interruption() as interruption:
        verify_version(path)
    assert interruption.signal_number is signal.SIGINT


def test_a_check_that_does_not_end_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(verification, "_SCRIPT", script)
    monkeypatch.setattr(verification, "_TIMEOUT_SECONDS", 0.5)
    path = save(tmp_path / "1", tf.Module(), {"serving_default": lambda x: {"actions": x}})
    with pytest.raises(VerificationError, match=r"has not ended after 0\.5 s"):
        verify_version(path)


@pytest.mark.parametrize(
    "path", sorted(REPOSITORY.glob("saved_models/*/*/saved_model.pb")), ids=lambda p: p.parts[-3]
)
def test_released_models_pass(path: Path) -> None:
    verify_version(path.parent)


def test_an_export_passes_again_where_it_was_published(tmp_path: Path) -> None:
    verify_version(export_policy(make_policy(zoo.VECTOR, zoo.TORQUES), tmp_path))
