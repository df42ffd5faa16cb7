"""Gymnasium spaces as JSON, for the metadata that travel with a model, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

_FLOATS = ("float16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_INFINITIES = {"inf": math.inf, "-inf": -math.inf}
# A file may come from anywhere: what it asks for has to fit into memory and into the call stack.
_MAX_ENTRIES = 2**24
_MAX_DEPTH = 32


def space_to_json(space: gym.Space) -> dict[str, Any]:
    """Describes a space by a dictionary that `json` can write.

    Arrays (bounds, counts, starts) are nested lists, or a single number where all are the same;
    infinities are the strings "inf" and "-inf". A Dict is a list of pairs, since the order of its
    keys is that of the flat vector.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these.

    Raises:
        ValueError: for any other space.

    Example:
        >>> space_to_json(gym.spaces.Box(-np.inf, 1, (2,)))
        {'type': 'Box', 'shape': [2], 'dtype': 'float32', 'low': '-inf', 'high': 1.0}
    """
    if isinstance(space, gym.spaces.Dict):
        if not all(isinstance(key, str) for key in space.spaces):
            raise ValueError(f"keys of a Dict space must be strings, got {list(space.spaces)}.")
        pairs = [[key, space_to_json(part)] for key, part in space.spaces.items()]
        return {"type": "Dict", "spaces": pairs}
    if isinstance(space, gym.spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_json(part) for part in space.spaces]}
    if isinstance(space, gym.spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else [*space.n]}
    dtype = str(getattr(space, "dtype", None))
    if isinstance(space, gym.spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": dtype}
    if isinstance(space, gym.spaces.MultiDiscrete):
        nvec, start = _compressed(space.nvec), _compressed(space.start)
        shape = {"shape": [*space.shape], "dtype": dtype}
        return {"type": "MultiDiscrete", **shape, "nvec": nvec, "start": start}
    if isinstance(space, gym.spaces.Box) and dtype in (*_FLOATS, *_INTEGERS, "bool"):
        low, high = _compressed(space.low), _compressed(space.high)
        shape = {"shape": [*space.shape], "dtype": dtype}
        return {"type": "Box", **shape, "low": low, "high": high}
    raise ValueError(
        f"{space} cannot be written as JSON. Supported are Box, Discrete, MultiDiscrete, "
        "MultiBinary, and Dict and Tuple of these."
    )


def space_from_json(record: Any) -> gym.Space:
    """Makes the space that `space_to_json` described.

    Strict: nothing is guessed, no field may be missing or unknown, and whatever a file asks for,
    no more than 2^24 array entries are made nor 32 levels of nesting followed.

    Args:
        record: as read by `json`.

    Returns:
        A space equal to the one described.

    Raises:
        ValueError: saying which part of the record is wrong and what was expected.

    Example:
        >>> space_from_json({"type": "Discrete", "n": 3, "start": -1, "dtype": "int64"})
        Discrete(3, start=-1)
    """
    return _Reader().space(record, "space", 0)


def _compressed(array: np.ndarray) -> Any:
    if array.size and np.all(array == array.flat[0]):
        return _number_to_json(array.flat[0])
    return _nested(array)


def _nested(array: np.ndarray) -> Any:
    return [_nested(part) for part in array] if array.ndim else _number_to_json(array[()])


def _number_to_json(number: Any) -> Any:
    value = number.item()
    return value if math.isfinite(value) else str(value)


class _Reader:
    """Reads one record; counts the array entries that it has made."""

    def __init__(self) -> None:
        self.entries = 0

    def space(self, record: Any, where: str, depth: int) -> gym.Space:
        readers: dict[str, tuple[tuple[str, ...], Callable[..., gym.Space]]] = {
            "Box": (("shape", "dtype", "low", "high"), self._box),
            "Discrete": (("n", "start", "dtype"), self._discrete),
            "MultiDiscrete": (("shape", "dtype", "nvec", "start"), self._multi_discrete),
            "MultiBinary": (("n",), self._multi_binary),
            "Dict": (("spaces",), self._dict),
            "Tuple": (("spaces",), self._tuple),
        }
        kind = record.get("type") if isinstance(record, dict) else None
        if not isinstance(kind, str) or kind not in readers:
            found = _shown(kind if isinstance(record, dict) else record)
            raise ValueError(f"{where} must have a type out of {', '.join(readers)}, got {found}.")
        if depth > _MAX_DEPTH:
            raise ValueError(f"{where} is nested more than {_MAX_DEPTH} deep.")
        fields, reader = readers[kind]
        if set(record) != {"type", *fields}:
            raise ValueError(
                f"{where} must have the fields type, {', '.join(fields)} of a {kind}, "
                f"got {_shown(list(record))}."
            )
        if kind in ("Dict", "Tuple"):
            return reader(record, where, depth)
        return reader(record, where)

    def _box(self, record: dict[str, Any], where: str) -> gym.Space:
        shape = self._shape(record["shape"], f"{where}.shape")
        dtype = _dtype(record["dtype"], (*_FLOATS, *_INTEGERS, "bool"), f"{where}.dtype")
        low = _array(record["low"], shape, dtype, f"{where}.low")
        high = _array(record["high"], shape, dtype, f"{where}.high")
        if np.any(low > high):
            raise ValueError(f"{where}.low must not exceed high.")
        return gym.spaces.Box(low, high, shape, dtype.type)

    def _discrete(self, record: dict[str, Any], where: str) -> gym.Space:
        dtype = _dtype(record["dtype"], _INTEGERS, f"{where}.dtype")
        n, start = (_number(record[name], dtype, f"{where}.{name}") for name in ("n", "start"))
        _check_choices(n, start, dtype, where)
        return gym.spaces.Discrete(n, start=start, dtype=dtype.type)

    def _multi_discrete(self, record: dict[str, Any], where: str) -> gym.Space:
        shape = self._shape(record["shape"], f"{where}.shape")
        dtype = _dtype(record["dtype"], _INTEGERS, f"{where}.dtype")
        nvec = _array(record["nvec"], shape, dtype, f"{where}.nvec")
        start = _array(record["start"], shape, dtype, f"{where}.start")
        for count, first in zip(nvec.flat, start.flat, strict=True):
            _check_choices(int(count), int(first), dtype, where)
        return gym.spaces.MultiDiscrete(nvec, dtype.type, start=start)

    def _multi_binary(self, record: dict[str, Any], where: str) -> gym.Space:
        n = record["n"]
        shape = self._shape(n if isinstance(n, list) else [n], f"{where}.n")
        if 0 in shape:
            raise ValueError(f"{where}.n must be positive, got {n}.")
        return gym.spaces.MultiBinary(list(shape) if isinstance(n, list) else n)

    def _dict(self, record: dict[str, Any], where: str, depth: int) -> gym.Space:
        pairs = record["spaces"]
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise ValueError(f"{where}.spaces must be a list of [key, space], got {_shown(pairs)}.")
        parts = {key: self.space(part, f"{where}[{key!r}]", depth + 1) for key, part in pairs}
        if len(parts) < len(pairs):
            raise ValueError(f"{where}.spaces must have distinct keys.")
        return gym.spaces.Dict(list(parts.items()))

    def _tuple(self, record: dict[str, Any], where: str, depth: int) -> gym.Space:
        parts = record["spaces"]
        if not isinstance(parts, list):
            raise ValueError(f"{where}.spaces must be a list of spaces, got {_shown(parts)}.")
        return gym.spaces.Tuple(
            [self.space(part, f"{where}[{i}]", depth + 1) for i, part in enumerate(parts)]
        )

    def _shape(self, value: Any, where: str) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > _MAX_DEPTH:
            raise ValueError(f"{where} must be a list of sizes, got {_shown(value)}.")
        for size in value:
            if type(size) is not int or not 0 <= size <= _MAX_ENTRIES:
                raise ValueError(f"{where} must hold whole sizes, got {_shown(size)}.")
        self.entries += math.prod(value)
        if self.entries > _MAX_ENTRIES:
            raise ValueError(f"{where} asks for more than {_MAX_ENTRIES} entries in all.")
        return tuple(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _dtype(value: Any, allowed: tuple[str, ...], where: str) -> np.dtype:
    if value not in allowed:
        raise ValueError(f"{where} must be one of {', '.join(allowed)}, got {_shown(value)}.")
    return np.dtype(value)


def _array(value: Any, shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
    if not isinstance(value, list):
        return np.full(shape, _number(value, dtype, where), dtype)
    numbers = [_number(number, dtype, where) for number in _flat(value, shape, where)]
    return np.array(numbers, dtype).reshape(shape)


def _flat(value: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    if not shape:
        return [value]
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError(f"{where} must be a number or nested lists of the shape of the space.")
    return [number for part in value for number in _flat(part, shape[1:], where)]


def _number(value: Any, dtype: np.dtype, where: str) -> Any:
    """A number that the dtype holds; whole numbers and truth values only where they belong."""
    if dtype.kind == "b":
        valid = isinstance(value, bool)
    elif dtype.kind == "f":
        if isinstance(value, str) and value in _INFINITIES:
            return _INFINITIES[value]
        largest = float(np.finfo(dtype).max)
        valid = type(value) in (int, float) and -largest <= value <= largest
    else:
        bounds = np.iinfo(dtype)
        valid = type(value) is int and bounds.min <= value <= bounds.max
    if not valid:
        raise ValueError(f"{where} must hold numbers of {dtype}, got {_shown(value)}.")
    return value


def _check_choices(count: int, first: int, dtype: np.dtype, where: str) -> None:
    if count < 1 or first + count - 1 > np.iinfo(dtype).max:
        raise ValueError(
            f"{where} must have at least one choice and all of them in {dtype}, "
            f"got {count} from {first} on."
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
