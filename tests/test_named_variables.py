from __future__ import annotations

import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import named_variables


class Nested(keras.Model):
    """Holds layers and variables in every way that one of the two trackers misses."""

    def __init__(self) -> None:
        super().__init__()
        self.in_list = [keras.layers.Dense(3), keras.layers.Dense(3)]
        self.in_dictionary = {"a": keras.layers.Dense(2)}
        self.dropout = keras.layers.Dropout(0.5, seed=3)
        self.statistics = keras.layers.BatchNormalization()
        self.updates = tf.Variable(1, dtype=tf.int64, trainable=False, name="updates")
        self.sequential = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(5)])
        inputs = keras.Input((5,))
        self.functional = keras.Model(inputs, keras.layers.Dense(2)(inputs))

    def call(self, rows):
        for layer in self.in_list:
            rows = layer(rows)
        rows = self.statistics(self.dropout(self.in_dictionary["a"](rows)))
        return self.functional(self.sequential(rows))


class HoldsLayers(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [keras.layers.Dense(2)]
        self.layers[0].build((None, 3))
        self.count = tf.Variable(0, dtype=tf.int32, name="count")


def make_objects() -> dict[str, object]:
    model = Nested()
    model(np.zeros((2, 4), np.float32))
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    adam = keras.optimizers.Adam(schedule)
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    for optimizer in (adam, sgd):
        optimizer.build(model.trainable_variables)
    return {
        "model": model,
        "adam": adam,
        "sgd": sgd,
        "module": HoldsLayers(),
        "plain": tf.Variable([True, False], name="flags"),
        "generator": tf.random.Generator.from_seed(1),
        "keras_variable": keras.Variable(np.arange(3.0), dtype="float64", name="scale"),
    }


def randomize(named: dict[str, tf.Variable], seed: int) -> None:
    random = np.random.default_rng(seed)
    for variable in named.values():
        bits = random.integers(0, 2, [*variable.shape, variable.dtype.size * 8], np.uint8)
        content = np.packbits(bits, -1).view(variable.dtype.as_numpy_dtype)
        if variable.dtype == tf.bool:
            content = random.integers(0, 2, variable.shape).astype(bool)
        variable.assign(content.reshape(variable.shape))


def contents(named: dict[str, tf.Variable]) -> dict[str, bytes]:
    return {name: variable.numpy().tobytes() for name, variable in named.items()}


def test_every_variable_is_found_once_under_a_stable_name():
    first = named_variables.named_variables(make_objects())
    second = named_variables.named_variables(make_objects())
    assert list(first) == list(second)
    model = [name for name in first if name.startswith("model/")]
    # 6 Dense layers with kernel and bias, 4 of the normalisation, the dropout's seed, the counter
    assert len(model) == 6 * 2 + 4 + 1 + 1
    assert "model/nested/dense/kernel" in model
    assert "model/nested/dense/kernel#1" in model
    assert "model/updates" in model
    assert "model/seed_generator/seed_generator_state" in model
    assert len({id(variable) for variable in first.values()}) == len(first)
    adam = [name for name in first if name.startswith("adam/")]
    trained = 6 * 2 + 2
    assert len(adam) == 1 + 2 * trained
    assert sum(name.startswith("sgd/") for name in first) == 2 + trained
    assert sum(name.startswith("module/") for name in first) == 3
    for group in ("plain", "generator", "keras_variable"):
        assert sum(name.startswith(f"{group}/") for name in first) == 1


def test_every_bit_returns(tmp_path):
    named = named_variables.named_variables(make_objects())
    randomize(named, seed=1)
    named_variables.write_variables(tmp_path / "variables", named)
    restored = named_variables.named_variables(make_objects())
    randomize(restored, seed=2)
    assert contents(restored) != contents(named)
    named_variables.read_variables(tmp_path / "variables", restored)
    assert contents(restored) == contents(named)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "uint8", "uint32", "uint64", "int8", "bool"]
)
def test_every_dtype_returns(tmp_path, dtype):
    variable = tf.Variable(tf.cast([0, 1, 3], dtype), name="x")
    named_variables.write_variables(tmp_path / "variables", {"x": variable})
    before = variable.numpy().tobytes()
    variable.assign(tf.zeros_like(variable))
    named_variables.read_variables(tmp_path / "variables", {"x": variable})
    assert variable.numpy().tobytes() == before


@pytest.mark.parametrize(
    ("live", "words"),
    [
        ({"a/x": [2.0], "a/y": [1.0, 2.0]}, r"a/x has shape \[2, 2\] in it and \[1\] here"),
        ({"a/x": [[1.0, 1.0], [1.0, 1.0]]}, r"it holds a/y \(shape \[2\]\), which does not exist"),
        (
            {"a/x": [[1.0, 1.0], [1.0, 1.0]], "a/y": [1.0, 2.0], "a/z": [3.0]},
            r"a/z \(shape \[1\]\) is not in it",
        ),
        ({"a/x": [[1, 1], [1, 1]], "a/y": [1.0, 2.0]}, "a/x is float32 in it and int32 here"),
        ({"a/y": [5.0], "a/z": [1.0]}, r"2 more do not fit"),
    ],
)
@pytest.mark.parametrize("subset", [False, True])
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path, live, words, subset):
    saved = {"a/x": tf.Variable([[1.0, 2.0], [3.0, 4.0]]), "a/y": tf.Variable([5.0, 6.0])}
    named_variables.write_variables(tmp_path / "variables", saved)
    variables = {name: tf.Variable(value) for name, value in live.items()}
    before = contents(variables)
    with pytest.raises(ValueError, match=words):
        named_variables.read_variables(tmp_path / "variables", variables, subset)
    assert contents(variables) == before


def test_subset_leaves_other_objects_in_the_file(tmp_path):
    saved = {"a/x": tf.Variable(1.0), "b/x": tf.Variable(2.0)}
    named_variables.write_variables(tmp_path / "variables", saved)
    live = {"b/x": tf.Variable(0.0)}
    with pytest.raises(ValueError, match="it holds a/x"):
        named_variables.read_variables(tmp_path / "variables", live)
    named_variables.read_variables(tmp_path / "variables", live, subset=True)
    assert live["b/x"].numpy() == 2.0


def test_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        named_variables.read_variables(tmp_path / "absent", {"x": tf.Variable(1.0)})
    named_variables.write_variables(tmp_path / "variables", {"x": tf.Variable(1.0)})
    index = tmp_path / "variables.index"
    whole = index.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[::-1], b"\x80\x04garbage"):
        index.write_bytes(damaged)
        variable = tf.Variable(3.0)
        with pytest.raises(ValueError, match="cannot be read"):
            named_variables.read_variables(tmp_path / "variables", {"x": variable})
        assert variable.numpy() == 3.0


def test_write_errors_name_the_path(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file/variables"):
        named_variables.write_variables(tmp_path / "file" / "variables", {"x": tf.Variable(1.0)})


def test_file_size_limit_is_an_error_that_names_the_path(tmp_path):
    # Stands for a full disk: the write itself fails, half-way.
    variable = tf.Variable(tf.zeros([100_000]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=f"{tmp_path}/variables cannot be written"):
            named_variables.write_variables(tmp_path / "variables", {"x": variable})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_objects_that_cannot_be_saved():
    with pytest.raises(TypeError, match="rate must be a Keras object"):
        named_variables.named_variables({"rate": 0.1})
    with pytest.raises(ValueError, match="model has no variables"):
        named_variables.named_variables({"model": Nested()})
    with pytest.raises(ValueError, match=r"\.\./x"):
        named_variables.named_variables({"../x": tf.Variable(1.0)})
