"""Walking through nested spaces: order, paths, values, and structures that do not fit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from trpo_tf.space_structure import entry_name, map_arrays

Dict, Discrete, Tuple = gym.spaces.Dict, gym.spaces.Discrete, gym.spaces.Tuple

SPACE = Dict(
    [
        ("z", Tuple([Discrete(2), Dict([("y", Discrete(3)), ("b", Discrete(4))])])),
        ("a", Discrete(5)),
    ]
)


def test_every_array_is_visited_in_the_order_of_the_space() -> None:
    visits: list[tuple[tuple[str, ...], int, Any]] = []
    values = {"a": "fifth", "z": ["second", {"b": "fourth", "y": "third"}]}
    result = map_arrays(
        lambda path, space, value: visits.append((path, int(space.n), value)), SPACE, values
    )
    assert visits == [
        (("z", "0"), 2, "second"),
        (("z", "1", "y"), 3, "third"),
        (("z", "1", "b"), 4, "fourth"),
        (("a",), 5, "fifth"),
    ]
    assert result == {"z": (None, {"y": None, "b": None}), "a": None}


def test_results_have_the_structure_and_order_of_the_space() -> None:
    result = map_arrays(lambda path, space, value: (int(space.n), value), SPACE)
    assert result == {"z": ((2, None), {"y": (3, None), "b": (4, None)}), "a": (5, None)}
    assert list(result) == ["z", "a"]
    assert list(result["z"][1]) == ["y", "b"]


def test_a_single_array() -> None:
    assert map_arrays(lambda path, space, value: (path, value), Discrete(2), "it") == ((), "it")


def test_names_of_entries() -> None:
    assert entry_name(()) == "observations"
    assert entry_name(("camera", "0")) == "observations 'camera/0'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], "observations must be a dictionary, got list"),
        ({"a": 1}, r"observations must have the entries \['z', 'a'\], got \['a'\]"),
        ({"a": 1, "z": "no"}, "observations 'z' must be a tuple, got str"),
        ({"a": 1, "z": {"0": 1, "1": 2}}, "observations 'z' must be a tuple, got dict"),
        ({"a": 1, "z": (1, 2, 3)}, r"entries \['0', '1'\], got \['0', '1', '2'\]"),
        ({"a": 1, "z": (1, {"y": 1})}, r"observations 'z/1' must have the entries \['y', 'b'\]"),
    ],
)
def test_values_of_another_structure(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_arrays(lambda path, space, value: None, SPACE, values)
