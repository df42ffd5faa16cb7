"""The structure of Gymnasium spaces: arrays inside of Dict and Tuple."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym


def map_arrays(
    function: Callable[[tuple[str, ...], Any, Any], Any],
    space: gym.Space,
    observations: Any = None,
    path: tuple[str, ...] = (),
) -> Any:
    """Calls a function for every array space inside a space, in the space's own order.

    Args:
        function: takes the keys and indices that lead to an array, its space, and its value.
        space: Dict and Tuple are walked through, all else counts as an array.
        observations: values in the space's structure (a list may stand for a tuple); without
            them every value is None.
        path: where the walk begins.

    Returns:
        The results in the space's structure: dictionaries in the order of the space, and tuples.

    Raises:
        ValueError: if `observations` has another structure than the space, or a Dict has a key
            that is no string.

    Example:
        >>> space = gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(3)])
        >>> map_arrays(lambda path, part, value: (path, int(part.n), value), space, ["a", "b"])
        ((('0',), 2, 'a'), (('1',), 3, 'b'))
    """
    if isinstance(space, gym.spaces.Dict):
        children = _children(dict(space.spaces), observations, Mapping, path)
        return {key: map_arrays(function, *child) for key, child in children.items()}
    if isinstance(space, gym.spaces.Tuple):
        parts = {str(index): part for index, part in enumerate(space.spaces)}
        children = _children(parts, observations, Sequence, path)
        return tuple(map_arrays(function, *child) for child in children.values())
    return function(path, space, observations)


def _children(
    spaces: dict[str, gym.Space], observations: Any, kind: type, path: tuple[str, ...]
) -> dict[str, tuple[gym.Space, Any, tuple[str, ...]]]:
    """What `map_arrays` goes on with: space, value and path of each part."""
    if not all(isinstance(key, str) for key in spaces):
        raise ValueError(f"keys of a Dict space must be strings, got {list(spaces)}.")
    values: dict[str, Any] = dict.fromkeys(spaces)
    if observations is not None:
        values = _named_values(observations, kind, path)
        if set(values) != set(spaces):
            raise ValueError(
                f"{entry_name(path)} must have the entries {list(spaces)}, got {list(values)}."
            )
    return {key: (space, values[key], (*path, key)) for key, space in spaces.items()}


def _named_values(observations: Any, kind: type, path: tuple[str, ...]) -> dict[str, Any]:
    if kind is Mapping and isinstance(observations, Mapping):
        return dict(observations)
    if (
        kind is Sequence
        and isinstance(observations, Sequence)
        and not isinstance(observations, str)
    ):
        return {str(index): value for index, value in enumerate(observations)}
    expected = "a dictionary" if kind is Mapping else "a tuple"
    raise ValueError(f"{entry_name(path)} must be {expected}, got {type(observations).__name__}.")


def entry_name(path: tuple[str, ...]) -> str:
    """How messages call the part of the observations that a path leads to.

    Example:
        >>> entry_name(("camera", "0"))
        "observations 'camera/0'"
    """
    return f"observations '{'/'.join(path)}'" if path else "observations"
