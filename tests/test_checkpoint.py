from __future__ import annotations

import json
import math
import os
import random
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.faults.damage import ARRAYS, FILES, HOWS, damage
from trpo_tf import checkpoint, manifest


def make_trackables(units: int = 3) -> dict[str, object]:
    model = keras.Sequential([keras.layers.Dense(units), keras.layers.BatchNormalization()])
    model(np.zeros((1, 2), np.float32))
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    version = tf.Variable(0, dtype=tf.int64, name="version")
    return {"model": model, "optimizer": optimizer, "version": version}


def train_a_little(trackables: dict[str, object]) -> None:
    model = trackables["model"]
    rows = tf.random.stateless_normal([8, 2], [1, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(rows, training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    trackables["optimizer"].apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    trackables["version"].assign_add(1)


def values(trackables: dict[str, object]) -> list[bytes]:
    variables = [*trackables["model"].variables, *trackables["optimizer"].variables]
    return [np.asarray(variable).tobytes() for variable in [*variables, trackables["version"]]]


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.fixture
def weight():
    return tf.Variable([0.0, 0.0], name="weight")


def save_steps(directory: Path, weight: tf.Variable, steps: list[int], keep: int = 3) -> None:
    for step in steps:
        weight.assign([step, step])
        arrays = {"place": np.array([step])}
        checkpoint.save_checkpoint(
            directory, step, {"weight": weight}, {"updates": step}, keep, arrays
        )


def test_every_value_returns_and_training_goes_on_the_same(tmp_path):
    first = make_trackables()
    train_a_little(first)
    path = checkpoint.save_checkpoint(tmp_path, 1, first, {"env_steps": 2**40})
    assert path == tmp_path / "000000001"
    assert names(path) == [name for name in FILES if name != ARRAYS]
    saved = values(first)
    second = make_trackables()
    assert values(second) != saved
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found == checkpoint.Checkpoint(1, path)
    assert checkpoint.restore_checkpoint(found, second) == {"env_steps": 2**40}
    assert values(second) == saved
    for trackables in (first, second):
        train_a_little(trackables)
    assert values(second) == values(first) != saved


def test_arrays_come_back_bit_for_bit(tmp_path, weight):
    arrays = {
        "a": np.array([0.1 + 0.2, np.nan, -0.0, np.inf]),
        "b": np.array([[2**64 - 1]], np.uint64),
    }
    path = checkpoint.save_checkpoint(tmp_path, 1, {"weight": weight}, {}, arrays=arrays)
    assert names(path) == list(FILES)
    found = checkpoint.latest_checkpoint(tmp_path)
    again = checkpoint.read_arrays(found)
    assert list(again) == ["a", "b"]
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()
    (path / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"arrays\.npz is damaged or no npz file"):
        checkpoint.read_arrays(found)
    with pytest.raises(ValueError, match=r"arrays\.npz has 2 bytes instead of"):
        checkpoint.latest_checkpoint(tmp_path)


def test_a_checkpoint_without_arrays_has_none(tmp_path, weight):
    checkpoint.save_checkpoint(tmp_path, 1, {"weight": weight}, {})
    assert checkpoint.read_arrays(checkpoint.latest_checkpoint(tmp_path)) is None
    words = {"a": np.array(["text"], object)}
    with pytest.raises(TypeError, match="a must hold numbers"):
        checkpoint.save_checkpoint(tmp_path, 2, {"weight": weight}, {}, arrays=words)
    assert names(tmp_path) == ["000000001"]


def test_state_comes_back_as_plain_values(tmp_path, weight):
    state = {
        "float": 0.1 + 0.2,
        "numpy": np.float32(0.5),
        "count": np.int64(7),
        "flag": np.bool_(True),
        "array": np.arange(3),
        "nested": {"pair": (1, None), "text": "ä"},
        "infinite": -math.inf,
    }
    checkpoint.save_checkpoint(tmp_path, 1, {"weight": weight}, state)
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None
    assert checkpoint.read_state(found) == {
        "float": 0.1 + 0.2,
        "numpy": 0.5,
        "count": 7,
        "flag": True,
        "array": [0, 1, 2],
        "nested": {"pair": [1, None], "text": "ä"},
        "infinite": -math.inf,
    }


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": {1: 2}}, {"a": [b"bytes"]}])
def test_state_that_json_cannot_hold(tmp_path, weight, bad):
    with pytest.raises(TypeError, match=r"state\['a'\]"):
        checkpoint.save_checkpoint(tmp_path, 1, {"weight": weight}, bad)
    assert names(tmp_path) == []


def test_last_few_are_kept_and_leavings_are_removed(tmp_path, weight):
    (tmp_path / ".tmp-000000002-dead").mkdir()
    (tmp_path / "notes.txt").write_text("of the user")
    save_steps(tmp_path, weight, [1, 5, 20, 1_000_000_000], keep=2)
    assert names(tmp_path) == ["000000020", "1000000000", "notes.txt"]
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1_000_000_000


@pytest.mark.parametrize(("step", "keep", "words"), [(-1, 3, "step must"), (1, 0, "keep must")])
def test_arguments_out_of_range(tmp_path, weight, step, keep, words):
    with pytest.raises(ValueError, match=words):
        checkpoint.save_checkpoint(tmp_path, step, {"weight": weight}, {}, keep)


def test_no_checkpoint_yet(tmp_path):
    assert checkpoint.latest_checkpoint(tmp_path / "absent") is None
    (tmp_path / ".tmp-000000001-dead").mkdir()
    (tmp_path / "note").write_text("x")
    assert checkpoint.latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", HOWS)
def test_damage_of_one_file_falls_back_with_one_warning(tmp_path, weight, name, how):
    save_steps(tmp_path, weight, [1, 2])
    damage(tmp_path / "000000002" / name, how, random.Random(3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = checkpoint.latest_checkpoint(tmp_path)
    (warning,) = caught
    assert "000000002" in str(warning.message)
    assert name in str(warning.message)
    assert str(warning.message).endswith("Falling back to 000000001.")
    assert checkpoint.restore_checkpoint(found, {"weight": weight}) == {"updates": 1}
    assert weight.numpy().tolist() == [1.0, 1.0]
    assert checkpoint.read_arrays(found)["place"].tolist() == [1]


def test_all_damaged_is_an_error_until_the_user_acts(tmp_path, weight):
    save_steps(tmp_path, weight, [1, 2])
    for step, name in ((1, "state.json"), (2, "variables.index")):
        damage(tmp_path / f"{step:09d}" / name, "flipped", random.Random(3))
    with pytest.raises(ValueError, match=r"000000002: variables\.index.*000000001: state\.json"):
        checkpoint.latest_checkpoint(tmp_path)
    os.rename(tmp_path / "000000001", tmp_path / "damaged-000000001")
    os.rename(tmp_path / "000000002", tmp_path / "damaged-000000002")
    with pytest.raises(ValueError, match=r"No checkpoint in .* is whole"):
        checkpoint.latest_checkpoint(tmp_path)


def test_checkpoint_under_another_steps_name_is_not_taken(tmp_path, weight):
    save_steps(tmp_path, weight, [1, 2])
    os.rename(tmp_path / "000000001", tmp_path / "000000003")
    with pytest.warns(RuntimeWarning, match="belongs to 'checkpoint 1'"):
        found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2


def test_run_that_fell_back_sets_the_damaged_one_aside(tmp_path, weight):
    save_steps(tmp_path, weight, [1, 2, 5])
    damage(tmp_path / "000000005" / "state.json", "flipped", random.Random(3))
    save_steps(tmp_path, weight, [3], keep=1)
    assert names(tmp_path) == ["000000003", "damaged-000000005"]
    save_steps(tmp_path, weight, [5], keep=1)
    assert names(tmp_path) == ["000000005", "damaged-000000005"]


def test_same_step_is_replaced_and_survives_a_failure(tmp_path, weight, monkeypatch):
    save_steps(tmp_path, weight, [7], keep=1)
    write_manifest = manifest.write_manifest

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write_manifest", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/000000007'"):
        checkpoint.save_checkpoint(tmp_path, 7, {"weight": weight}, {"updates": 70}, 1)
    assert names(tmp_path) == ["000000007.replaced"]
    found = checkpoint.latest_checkpoint(tmp_path)
    assert checkpoint.restore_checkpoint(found, {"weight": weight}) == {"updates": 7}
    monkeypatch.setattr(manifest, "write_manifest", write_manifest)
    checkpoint.save_checkpoint(tmp_path, 7, {"weight": weight}, {"updates": 71}, 1)
    assert names(tmp_path) == ["000000007"]
    found = checkpoint.latest_checkpoint(tmp_path)
    assert checkpoint.restore_checkpoint(found, {"weight": weight}) == {"updates": 71}


def test_going_back_is_refused(tmp_path, weight):
    save_steps(tmp_path, weight, [4])
    with pytest.raises(ValueError, match="whole checkpoint of step 4, got 3"):
        save_steps(tmp_path, weight, [3])
    assert names(tmp_path) == ["000000004"]


def test_other_architecture_is_named_and_changes_nothing(tmp_path):
    checkpoint.save_checkpoint(tmp_path, 1, make_trackables(units=3), {})
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None
    wider = make_trackables(units=4)
    before = values(wider)
    with pytest.raises(ValueError, match=r"kernel has shape \[2, 3\] in it and \[2, 4\] here"):
        checkpoint.restore_checkpoint(found, wider)
    assert values(wider) == before
    with pytest.raises(ValueError, match=r"model/.*does not exist here"):
        checkpoint.restore_checkpoint(found, {"version": wider["version"]})
    state = checkpoint.restore_checkpoint(found, {"version": wider["version"]}, subset=True)
    assert state == {}


def test_directory_in_the_way(tmp_path, weight):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file"):
        save_steps(tmp_path / "file", weight, [1])
    with pytest.raises(NotADirectoryError, match="file"):
        checkpoint.latest_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
def test_refused_writes_are_raised_and_lose_nothing(tmp_path, weight, monkeypatch, call):
    save_steps(tmp_path, weight, [1])

    def fail(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        save_steps(tmp_path, weight, [2])
    monkeypatch.undo()
    assert names(tmp_path) == ["000000001"]
    assert checkpoint.latest_checkpoint(tmp_path) == (1, tmp_path / "000000001")


def test_full_disk_is_raised_and_loses_nothing(tmp_path, weight):
    # A file-size limit stands for it: the write of the variables fails half-way.
    save_steps(tmp_path, weight, [1])
    big = tf.Variable(tf.zeros([100_000]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="000000002"):
            checkpoint.save_checkpoint(tmp_path, 2, {"weight": weight, "big": big}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["000000001"]


KILLER = """
import os, random, sys, time, warnings
sys.path.insert(0, {root!r})
import tensorflow as tf
from trpo_tf import checkpoint

def save_forever(pipe):
    weights = {{f"w{{i}}": tf.Variable(tf.zeros([20_000]), name="w") for i in range(5)}}
    found = checkpoint.latest_checkpoint({directory!r})
    step = 0
    if found is not None:
        step = found.step
        assert checkpoint.restore_checkpoint(found, weights) == {{"step": step}}
        assert all((weight.numpy() == step).all() for weight in weights.values())
    while True:
        step += 1
        for weight in weights.values():
            weight.assign(tf.fill([20_000], float(step)))
        checkpoint.save_checkpoint({directory!r}, step, weights, {{"step": step}}, keep=2)
        os.write(pipe, step.to_bytes(4, "big"))

# Forked before TensorFlow has started any thread, so that an import does not stand before
# each kill.
warnings.simplefilter("error")
moments = random.Random(0)
last = 0
for _ in range(40):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_forever(writing)
        finally:
            os._exit(1)
    os.close(writing)
    steps = os.read(reading, 4)
    assert steps, "the saving process ended by itself"
    time.sleep(moments.uniform(0.0, 0.06))
    os.kill(child, 9)
    os.waitpid(child, 0)
    while piece := os.read(reading, 4096):
        steps += piece
    os.close(reading)
    reported = int.from_bytes(steps[-4:], "big")
    found = checkpoint.latest_checkpoint({directory!r})
    assert last < reported <= found.step <= reported + 1, (last, reported, found)
    last = found.step
print("survived", flush=True)
"""


def test_killed_at_any_moment(tmp_path):
    # A chain: each process restores what the killed one left, and checks it, before it goes on.
    directory = tmp_path / "checkpoints"
    root = Path(checkpoint.__file__).parents[1]
    process = subprocess.run(
        [sys.executable, "-c", KILLER.format(root=str(root), directory=str(directory))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.stdout == "survived\n", process.stderr
    assert len(names(directory)) <= 5
    weights = {f"w{i}": tf.Variable(tf.zeros([20_000]), name="w") for i in range(5)}
    found = checkpoint.latest_checkpoint(directory)
    assert found is not None
    assert checkpoint.restore_checkpoint(found, weights) == {"step": found.step}
    assert all((weight.numpy() == found.step).all() for weight in weights.values())


def test_state_file_is_readable_json(tmp_path, weight):
    save_steps(tmp_path, weight, [1])
    assert json.loads((tmp_path / "000000001" / "state.json").read_text()) == {"updates": 1}
