"""Flat vectors against Gymnasium's own, row by row; what is refused; pictures; tensor specs."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from litert_runner import run_litert
from random_spaces import random_space, sample_batch

from trpo_tf import spaces
from trpo_tf.execution import Execution

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
MultiDiscrete, MultiBinary = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
Dict, Tuple = gym.spaces.Dict, gym.spaces.Tuple

CHOSEN = {
    "box": Box(-np.inf, np.inf, (3,)),
    "scalar_box": Box(-1, 1, ()),
    "float64_box": Box(-1, 1, (2, 3), np.float64),
    "bytes": Box(0, 255, (4, 3), np.uint8),
    "integers": Box(-(2**40), 2**40, (3,), np.int64),
    "truths": Box(0, 1, (2,), np.bool_),
    "discrete": Discrete(5),
    "discrete_from_minus_two": Discrete(4, start=-2),
    "discrete_int32": Discrete(4, start=7, dtype=np.int32),
    "multi_discrete": MultiDiscrete([2, 5, 1, 3]),
    "multi_discrete_array": MultiDiscrete([[2, 3], [4, 5]]),
    "multi_discrete_from": MultiDiscrete([[2, 3], [4, 5]], start=[[-1, 0], [3, -7]]),
    "multi_discrete_int8": MultiDiscrete([120, 3], start=[-100, 4], dtype=np.int8),
    "multi_binary": MultiBinary(4),
    "multi_binary_array": MultiBinary([2, 3]),
    # Gymnasium keeps the order of pairs, tf.nest would sort.
    "dict_out_of_order": Dict([("zebra", Box(-1, 1, (2,))), ("ant", Discrete(3, start=1))]),
    "tuple": Tuple([Discrete(3), Box(-1, 1, (2, 2)), MultiBinary(2)]),
    "nested": Dict(
        [
            ("outer", Tuple([Dict([("y", MultiDiscrete([2, 3])), ("x", Discrete(2))])])),
            ("camera", Box(0, 255, (2, 2, 1), np.uint8)),
        ]
    ),
}
RANDOM = {f"random_{seed}": random_space(np.random.default_rng(seed), 3) for seed in range(60)}
ALL = CHOSEN | RANDOM


def flattened_rows(space: gym.Space, rows: list[Any], dtype: str) -> np.ndarray:
    return np.stack([gym.spaces.flatten(space, row) for row in rows]).astype(dtype)


@pytest.mark.parametrize("name", ALL)
def test_flat_vectors_are_gymnasiums(name: str) -> None:
    space = ALL[name]
    rows, batch = sample_batch(space, 7, seed=3)
    for dtype in ("float32", "float64"):
        flat = spaces.flatten_observations(space, batch, dtype)
        assert flat.dtype == dtype
        np.testing.assert_array_equal(flat, flattened_rows(space, rows, dtype))
    assert spaces.flat_size(space) == gym.spaces.flatdim(space) == flat.shape[1]
    spaces.validate_observation_space(space)


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
@pytest.mark.parametrize("name", [*CHOSEN, *list(RANDOM)[:10]])
def test_flat_vectors_when_compiled(name: str, execution: Execution) -> None:
    space = ALL[name]
    rows, batch = sample_batch(space, 5, seed=4)
    tensors = tf.nest.map_structure(tf.constant, batch)
    flatten = execution.compile(lambda nest: spaces.flatten_observations(space, nest, "float32"))
    np.testing.assert_array_equal(flatten(tensors), flattened_rows(space, rows, "float32"))


@pytest.mark.parametrize("name", CHOSEN)
def test_flat_vectors_of_an_unknown_number_of_rows(name: str) -> None:
    space = CHOSEN[name]
    flatten = tf.function(
        lambda nest: spaces.flatten_observations(space, nest, "float32"),
        input_signature=[spaces.observation_specs(space)],
    )
    assert flatten.get_concrete_function().output_shapes[1] == spaces.flat_size(space)
    for num_rows in (1, 6):
        rows, batch = sample_batch(space, num_rows, seed=5)
        tensors = tf.nest.map_structure(tf.constant, batch)
        np.testing.assert_array_equal(flatten(tensors), flattened_rows(space, rows, "float32"))
    nothing = tf.nest.map_structure(lambda tensor: tensor[:0], tensors)
    assert flatten(nothing).shape == (0, spaces.flat_size(space))


@pytest.mark.parametrize("name", CHOSEN)
def test_flat_vectors_in_litert(name: str) -> None:
    space = CHOSEN[name]
    rows, batch = sample_batch(space, 5, seed=6)

    def flatten(*leaves: tf.Tensor) -> tf.Tensor:
        nest = tf.nest.pack_sequence_as(batch, leaves)
        return spaces.flatten_observations(space, nest, "float32")

    flat = run_litert(flatten, *tf.nest.flatten(batch))
    np.testing.assert_array_equal(flat, flattened_rows(space, rows, "float32"))


def test_a_list_may_stand_for_a_tuple_and_keys_come_in_any_order() -> None:
    space = Dict([("b", Tuple([Discrete(2), Discrete(3)])), ("a", Box(-1, 1, (1,)))])
    flat = spaces.flatten_observations(space, {"a": [[0.5]], "b": [[1], [2]]}, "float32")
    np.testing.assert_array_equal(flat, [[0, 1, 0, 0, 1, 0.5]])


def test_a_number_out_of_range_gives_zeros() -> None:
    space = MultiDiscrete([2, 3], start=[0, 5])
    flat = spaces.flatten_observations(space, np.array([[2, 7], [-1, 4], [1, 8]]), "float32")
    np.testing.assert_array_equal(flat, [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]])


def test_many_choices_of_very_different_numbers() -> None:
    space = MultiDiscrete([2, 10_000, 3])
    rows, batch = sample_batch(space, 3, seed=1)
    flat = spaces.flatten_observations(space, batch, "float32")
    np.testing.assert_array_equal(flat, flattened_rows(space, rows, "float32"))


@pytest.mark.parametrize("name", ALL)
def test_continuous_entries_are_those_of_boxes(name: str) -> None:
    space = ALL[name]

    def marks(part: gym.Space) -> list[bool]:
        if isinstance(part, Dict):
            return [mark for child in part.spaces.values() for mark in marks(child)]
        if isinstance(part, Tuple):
            return [mark for child in part.spaces for mark in marks(child)]
        return [isinstance(part, Box)] * gym.spaces.flatdim(part)

    entries = spaces.continuous_entries(space)
    assert entries.dtype == bool
    assert entries.tolist() == marks(space)


IMAGES = {
    (4, 84, 84): (84, 84, 4),
    (3, 210, 160): (210, 160, 3),
    (84, 84, 4): (84, 84, 4),
    (210, 160, 3): (210, 160, 3),
    (1, 84, 84): (84, 84, 1),
    (8, 9, 8): (8, 9, 8),
    (5, 3, 6): (3, 6, 5),
}


@pytest.mark.parametrize("shape", IMAGES)
def test_images_get_their_channels_last(shape: tuple[int, ...]) -> None:
    space = Box(0, 255, shape, np.uint8)
    assert spaces.is_image(space)
    _, batch = sample_batch(space, 2, seed=0)
    turned = spaces.image_channels_last(space, batch)
    assert turned.shape[1:] == IMAGES[shape]
    assert turned.dtype == tf.uint8
    expected = batch if IMAGES[shape] == shape else np.moveaxis(batch, 1, -1)
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize(
    "space",
    [
        Box(0, 255, (84, 84), np.uint8),
        Box(0, 255, (84, 84, 3), np.float32),
        Box(0, 255, (2, 84, 84, 3), np.uint8),
        Discrete(3),
        Dict(camera=Box(0, 255, (84, 84, 3), np.uint8)),
    ],
)
def test_no_images(space: gym.Space) -> None:
    assert not spaces.is_image(space)


@pytest.mark.parametrize("name", ALL)
def test_specs_fit_a_batch(name: str) -> None:
    space = ALL[name]
    _, batch = sample_batch(space, 3, seed=0)
    for batch_size in (None, 3):
        specs = spaces.observation_specs(space, batch_size)
        tf.nest.assert_same_structure(specs, batch)
        for spec, array in zip(tf.nest.flatten(specs), tf.nest.flatten(batch), strict=True):
            assert spec.shape.as_list() == [batch_size, *array.shape[1:]]
            assert spec.dtype == array.dtype
    names = [spec.name for spec in tf.nest.flatten(specs)]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name[0].isalpha() and name.isascii() for name in names)


def names_of(space: gym.Space) -> list[str]:
    """Names in the space's order, not in that of tf.nest."""

    def walk(nest: Any) -> list[str]:
        if isinstance(nest, dict):
            return [name for part in nest.values() for name in walk(part)]
        if isinstance(nest, tuple):
            return [name for part in nest for name in walk(part)]
        return [nest.name]

    return walk(spaces.observation_specs(space))


def test_names_of_inputs() -> None:
    assert names_of(Box(-1, 1, (2,))) == ["observations"]
    assert names_of(Tuple([Discrete(2), Tuple([Discrete(2), Discrete(2)])])) == [
        "observations_0",
        "observations_1_0",
        "observations_1_1",
    ]
    space = Dict(
        [
            ("position", Discrete(2)),
            ("camera", Dict(left=Discrete(2), right=Tuple([Discrete(2)]))),
            ("my key/ä", Discrete(2)),
            ("2nd", Discrete(2)),
            ("_hidden", Discrete(2)),
            ("seeds", Discrete(2)),
        ]
    )
    assert names_of(space) == [
        "position",
        "camera_left",
        "camera_right_0",
        "my_key__",
        "observations_2nd",
        "observations__hidden",
        "observations_seeds",
    ]


def test_names_that_would_be_the_same_get_numbers() -> None:
    space = Dict(
        [
            ("a b", Discrete(2)),
            ("a_b", Discrete(2)),
            ("a", Dict(b=Discrete(2))),
            ("a_b_2", Discrete(2)),
        ]
    )
    assert names_of(space) == ["a_b", "a_b_2", "a_b_3", "a_b_2_2"]


SUPPORTED_OBSERVATIONS = "Supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict and"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Text(5), rf"Text\(.*is not supported.*{SUPPORTED_OBSERVATIONS}"),
        (gym.spaces.Sequence(Discrete(2)), "Sequence.* is not supported"),
        (gym.spaces.OneOf([Discrete(2)]), "OneOf.* is not supported"),
        (Dict(name=gym.spaces.Text(5)), r"Dict.* is not supported because of Text\("),
        (Tuple([Discrete(2), gym.spaces.Graph(Discrete(2), None)]), "because of Graph"),
        (Box(-1, 1, (0, 3)), "flattens to 0 entries, expected 1 to 16777216"),
        (Dict(), "flattens to 0 entries"),
        (Discrete(2**40), "flattens to 1099511627776 entries"),
        (Dict({1: Discrete(2)}), r"keys of a Dict space must be strings, got \[1\]"),
        (Box(-1, 1, (2,), np.longdouble), "is not supported"),
    ],
)
def test_observation_spaces_that_are_refused(space: gym.Space, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spaces.validate_observation_space(space)


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (3,)),
        Box(-np.inf, np.inf, ()),
        Box(np.array([-1, -np.inf]), np.array([np.inf, 1]), dtype=np.float64),
        Box(-1, 1, (2, 2), np.float16),
        Discrete(1),
        Discrete(3, start=-7),
        MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, -1]]),
        MultiBinary([2, 3]),
    ],
)
def test_action_spaces_that_are_taken(space: gym.Space) -> None:
    spaces.validate_action_space(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Dict(a=Discrete(2)), r"Dict\(.*not supported. Supported are Box of floats, Discrete, Mul"),
        (Tuple([Discrete(2)]), "not supported"),
        (gym.spaces.Text(5), "not supported"),
        (Box(0, 9, (2,), np.int32), "is a Box of int32, expected float16, float32 or float64"),
        (Box(0, 255, (2,), np.uint8), "use Discrete or MultiDiscrete"),
        (Box(-1, 1, (2,), np.longdouble), "expected float16, float32 or float64"),
        (Box(-1, 1, (0,)), "has no entries"),
    ],
)
def test_action_spaces_that_are_refused(space: gym.Space, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spaces.validate_action_space(space)


def test_no_spaces_at_all() -> None:
    with pytest.raises(TypeError, match=r"observation_space must be a gymnasium.Space, got tuple"):
        spaces.validate_observation_space((3,))
    with pytest.raises(TypeError, match=r"action_space must be a gymnasium.Space, got int"):
        spaces.validate_action_space(3)


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros([2, 3]), "observations must be a dictionary, got ndarray"),
        ({"a": np.zeros([2])}, r"must have the entries \['a', 'b'\], got \['a'\]"),
        (
            {"a": np.zeros([2]), "b": (np.zeros([2]),), "c": 1},
            r"must have the entries \['a', 'b'\], got \['a', 'b', 'c'\]",
        ),
        ({"a": np.zeros([2]), "b": np.zeros([2])}, "observations 'b' must be a tuple, got ndarray"),
        (
            {"a": np.zeros([2]), "b": ()},
            r"observations 'b' must have the entries \['0'\], got \[\]",
        ),
    ],
)
def test_observations_of_another_structure(observations: Any, message: str) -> None:
    space = Dict([("a", Discrete(2)), ("b", Tuple([Discrete(2)]))])
    with pytest.raises(ValueError, match=message):
        spaces.flatten_observations(space, observations, "float32")
