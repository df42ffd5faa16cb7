"""Spaces there and back through JSON text, and records that are refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import gymnasium as gym
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from random_spaces import random_space

from trpo_tf.space_json import space_from_json, space_to_json

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
MultiDiscrete, MultiBinary = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
Dict, Tuple = gym.spaces.Dict, gym.spaces.Tuple
INF = np.inf

CHOSEN = {
    "box": Box(-INF, INF, (3,)),
    "scalar_box": Box(-0.4, 0.4, ()),
    "mixed_bounds": Box(np.float32([-1, -INF, 0.1]), np.float32([INF, 0.3, 0.7])),
    "last_bit": Box(np.nextafter(np.float64(0.1), 1), 0.3, (2,), np.float64),
    "largest": Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,)),
    "half": Box(-0.1, 65504, (2,), np.float16),
    "image": Box(0, 255, (84, 84, 4), np.uint8),
    "int64": Box(-(2**63), 2**63 - 2, (2, 2), np.int64),
    "bool": Box(0, 1, (2,), np.bool_),
    "no_entries": Box(-1, 1, (0, 3)),
    "discrete": Discrete(5),
    "discrete_from": Discrete(3, start=-(2**40)),
    "discrete_uint8": Discrete(6, start=250, dtype=np.uint8),
    "multi_discrete": MultiDiscrete([4, 4]),
    "multi_discrete_from": MultiDiscrete([[2, 3], [4, 5]], start=[[-1, 0], [3, -7]]),
    "multi_discrete_int8": MultiDiscrete([120, 3], start=[-100, 4], dtype=np.int8),
    "multi_binary": MultiBinary(4),
    "multi_binary_array": MultiBinary((2, 3)),
    "dict_out_of_order": Dict([("zebra", Box(-1, 1, (2,))), ("ant", Discrete(3, start=1))]),
    "dict_odd_keys": Dict([("", Discrete(2)), ("ö/'\"", Discrete(2)), ("type", Discrete(2))]),
    "tuple": Tuple([Discrete(3), Tuple([MultiBinary(2)])]),
    "nothing": Tuple([Dict()]),
}
ALL = CHOSEN | {
    f"random_{seed}": random_space(np.random.default_rng(seed), 3) for seed in range(60)
}


def assert_identical(found: gym.Space, expected: gym.Space) -> None:
    """To the last bit; Gymnasium's own equality of boxes allows for rounding."""
    assert type(found) is type(expected)
    if isinstance(expected, Dict):
        assert list(found.spaces) == list(expected.spaces)
        for key, part in expected.spaces.items():
            assert_identical(found.spaces[key], part)
    elif isinstance(expected, Tuple):
        assert len(found.spaces) == len(expected.spaces)
        for part, other in zip(found.spaces, expected.spaces, strict=True):
            assert_identical(part, other)
    else:
        assert found == expected
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        for name in ("low", "high", "bounded_below", "bounded_above", "nvec", "start", "n"):
            np.testing.assert_array_equal(getattr(found, name, 0), getattr(expected, name, 0))


@pytest.mark.parametrize("name", ALL)
def test_there_and_back(name: str) -> None:
    space = ALL[name]
    # The text has to be JSON as others read it, without the words NaN and Infinity.
    text = json.dumps(space_to_json(space), allow_nan=False)
    assert_identical(space_from_json(json.loads(text)), space)


def test_what_is_written() -> None:
    assert space_to_json(CHOSEN["image"]) == {
        "type": "Box",
        "shape": [84, 84, 4],
        "dtype": "uint8",
        "low": 0,
        "high": 255,
    }
    assert space_to_json(Box(np.float32([-INF, 0.5]), INF)) == {
        "type": "Box",
        "shape": [2],
        "dtype": "float32",
        "low": ["-inf", 0.5],
        "high": "inf",
    }
    assert space_to_json(Dict([("b", Discrete(2, start=-1)), ("a", MultiBinary((2, 3)))])) == {
        "type": "Dict",
        "spaces": [
            ["b", {"type": "Discrete", "n": 2, "start": -1, "dtype": "int64"}],
            ["a", {"type": "MultiBinary", "n": [2, 3]}],
        ],
    }
    assert space_to_json(MultiDiscrete([[2, 3], [4, 5]])) == {
        "type": "MultiDiscrete",
        "shape": [2, 2],
        "dtype": "int64",
        "nvec": [[2, 3], [4, 5]],
        "start": 0,
    }


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Text(3),
        Tuple([gym.spaces.Sequence(Discrete(2))]),
        Box(-1, 1, (2,), np.longdouble),
        None,
    ],
)
def test_what_cannot_be_written(space: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot be written as JSON. Supported are Box, Discrete"):
        space_to_json(space)


def test_keys_that_json_would_turn_into_text() -> None:
    with pytest.raises(ValueError, match=r"keys of a Dict space must be strings, got \[1\]"):
        space_to_json(Dict({1: Discrete(2)}))


BOX = {"type": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0}
DISCRETE = {"type": "Discrete", "n": 3, "start": 0, "dtype": "int64"}
MULTI = {"type": "MultiDiscrete", "shape": [2], "dtype": "int64", "nvec": [2, 3], "start": 0}
DICT = {"type": "Dict", "spaces": [["a", DISCRETE], ["b", BOX]]}


def nested(depth: int) -> dict[str, Any]:
    record = DISCRETE
    for _ in range(depth):
        record = {"type": "Tuple", "spaces": [record]}
    return record


REFUSED = {
    "no_record": ([], r"^space must have a type out of Box, .*Tuple, got \[\]\.$"),
    "null": (None, "got None"),
    "no_type": ({}, "must have a type out of Box, Discrete, .*, got None"),
    "unknown_type": ({**BOX, "type": "Text"}, "got 'Text'"),
    "type_no_text": ({**BOX, "type": ["Box"]}, r"got \['Box'\]"),
    "missing_field": ({"type": "Discrete", "n": 3, "start": 0}, "fields type, n, start, dtype of"),
    "unknown_field": (
        {**DISCRETE, "seed": 1},
        "must have the fields type, n, start, dtype of a Di",
    ),
    "shape_no_list": ({**BOX, "shape": 2}, "space.shape must be a list of sizes, got 2"),
    "shape_negative": ({**BOX, "shape": [-1]}, "space.shape must hold whole sizes, got -1"),
    "shape_fraction": ({**BOX, "shape": [2.0]}, "must hold whole sizes, got 2.0"),
    "shape_truth": ({**BOX, "shape": [True]}, "must hold whole sizes, got True"),
    "shape_huge": ({**BOX, "shape": [10**12]}, "must hold whole sizes, got 1000000000000"),
    "shape_huge_product": ({**BOX, "shape": [2**13, 2**13]}, "more than 16777216 entries in all"),
    "shape_deep": ({**BOX, "shape": [1] * 33}, "must be a list of sizes"),
    "huge_together": (
        {"type": "Tuple", "spaces": [{**BOX, "shape": [2**12, 2**10]}] * 5},
        r"space\[4\].shape asks for more than 16777216 entries in all",
    ),
    "dtype_unknown": ({**BOX, "dtype": "complex64"}, "space.dtype must be one of float16, .*bool"),
    "dtype_object": ({**BOX, "dtype": "O"}, "space.dtype must be one of"),
    "dtype_no_text": ({**BOX, "dtype": ["float32"]}, "space.dtype must be one of"),
    "discrete_of_floats": ({**DISCRETE, "dtype": "float32"}, "space.dtype must be one of int8"),
    "bound_text": ({**BOX, "low": "low"}, "space.low must hold numbers of float32, got 'low'"),
    "bound_nan": ({**BOX, "low": float("nan")}, "space.low must hold numbers of float32, got nan"),
    "bound_infinite_number": ({**BOX, "high": INF}, "space.high must hold numbers of float32"),
    "bound_truth": ({**BOX, "low": False}, "space.low must hold numbers of float32, got False"),
    "bound_null": ({**BOX, "low": None}, "space.low must hold numbers of float32, got None"),
    "bound_too_large": ({**BOX, "high": 1e39}, "space.high must hold numbers of float32, got 1e"),
    "bound_very_large": ({**BOX, "high": 10**400}, r"space.high must hold .*, got 10+\.\.\.\."),
    "bounds_too_few": (
        {**BOX, "low": [0]},
        "space.low must be a number or nested lists of the sha",
    ),
    "bounds_too_deep": ({**BOX, "low": [[0, 0]]}, "must be a number or nested lists of the shape"),
    "bounds_deeper": ({**BOX, "low": [[0], [0]]}, r"must hold numbers of float32, got \[0\]"),
    "bounds_swapped": ({**BOX, "low": [0, 2]}, "space.low must not exceed high"),
    "byte_256": ({**BOX, "dtype": "uint8", "low": 0, "high": 256}, "numbers of uint8, got 256"),
    "byte_fraction": ({**BOX, "dtype": "uint8", "low": 0.0, "high": 1}, "of uint8, got 0.0"),
    "byte_infinite": ({**BOX, "dtype": "int8", "low": "-inf"}, "of int8, got '-inf'"),
    "bool_numbers": ({**BOX, "dtype": "bool", "low": 0, "high": 1}, "numbers of bool, got 0"),
    "n_zero": ({**DISCRETE, "n": 0}, "at least one choice and all of them in int64, got 0 from 0"),
    "n_truth": ({**DISCRETE, "n": True}, "space.n must hold numbers of int64, got True"),
    "n_text": ({**DISCRETE, "n": "3"}, "space.n must hold numbers of int64, got '3'"),
    "n_beyond": (
        {**DISCRETE, "dtype": "int8", "start": 126},
        "all of them in int8, got 3 from 126",
    ),
    "nvec_zero": ({**MULTI, "nvec": [2, 0]}, "at least one choice .* got 0 from 0"),
    "start_shape": ({**MULTI, "start": [0]}, "space.start must be a number or nested lists"),
    "binary_zero": ({"type": "MultiBinary", "n": 0}, "space.n must be positive, got 0"),
    "binary_zero_axis": ({"type": "MultiBinary", "n": [2, 0]}, "space.n must be positive"),
    "binary_text": ({"type": "MultiBinary", "n": "3"}, "space.n must hold whole sizes, got '3'"),
    "pairs_no_list": (
        {"type": "Dict", "spaces": {"a": BOX}},
        "must be a list of .key, space., got",
    ),
    "pair_of_three": (
        {"type": "Dict", "spaces": [["a", BOX, 1]]},
        "must be a list of .key, space.",
    ),
    "key_no_text": ({"type": "Dict", "spaces": [[1, BOX]]}, "must be a list of .key, space."),
    "key_twice": ({"type": "Dict", "spaces": [["a", BOX], ["a", BOX]]}, "must have distinct keys"),
    "parts_no_list": ({"type": "Tuple", "spaces": BOX}, "space.spaces must be a list of spaces"),
    "deep": (nested(40), "is nested more than 32 deep"),
    "inside": (
        {"type": "Tuple", "spaces": [DICT, {"type": "Dict", "spaces": [["x", {**BOX, "low": 2}]]}]},
        r"^space\[1\]\['x'\].low must not exceed high",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_records_that_are_refused(name: str) -> None:
    record, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        space_from_json(record)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_nesting_up_to_the_limit() -> None:
    assert space_to_json(space_from_json(nested(32))) == nested(32)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["Box", "Tuple", "Dict", "inf", "float32", "int64", "type", "spaces", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "shape", "n", "spaces", "low"]), inner)
    ),
    max_leaves=8,
)


def places(record: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside a record."""
    found = [path] if path else []
    if isinstance(record, dict):
        return found + [p for key, value in record.items() for p in places(value, (*path, key))]
    if isinstance(record, list):
        return found + [p for i, value in enumerate(record) for p in places(value, (*path, i))]
    return found


@hypothesis.settings(deadline=None, max_examples=400, derandomize=True)
@hypothesis.given(st.data())
def test_a_damaged_record_is_refused_or_means_what_it_says(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(ALL)))
    record = json.loads(json.dumps(space_to_json(ALL[name])))
    damaged = copy.deepcopy(record)
    *way, last = data.draw(st.sampled_from(places(record)))
    holder = damaged
    for step in way:
        holder = holder[step]
    holder[last] = data.draw(JSON)
    try:
        space = space_from_json(damaged)
    except ValueError:
        return
    assert_identical(space_from_json(space_to_json(space)), space)


@hypothesis.settings(deadline=None, max_examples=300, derandomize=True)
@hypothesis.given(JSON)
def test_anything_else_is_refused(record: Any) -> None:
    try:
        space = space_from_json(record)
    except ValueError:
        return
    assert isinstance(space, gym.Space)
