"""A batch of observations from outside, checked against its space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from trpo_tf.space_structure import entry_name, map_arrays

# Kinds of NumPy dtypes that may stand for a kind without losing their meaning.
_ACCEPTED_KINDS = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}


def check_observations(space: gym.Space, observations: Any) -> Any:
    """Checks a batch of observations against a space before it goes into a model.

    Whole numbers may stand for floats, and numbers of any width for those of another that can hold
    them. The numbers of Discrete and MultiDiscrete must be in their range. The bounds of a Box are
    not checked (environments often pass them), nor is finiteness, which models check themselves.

    Args:
        space: a supported observation space of a single environment.
        observations: the batch, arrays [N, ...] or nested lists in the space's structure.

    Returns:
        The same as NumPy arrays of the space's own dtypes, in dictionaries and tuples.

    Raises:
        ValueError: naming the entry, what was expected and what was found.

    Example:
        >>> check_observations(gym.spaces.Box(-1, 1, (2,)), [[0, 1], [1, 1]])
        array([[0., 1.],
               [1., 1.]], dtype=float32)
    """
    row_counts: dict[str, int] = {}

    def check(path: tuple[str, ...], part: gym.Space, value: Any) -> np.ndarray:
        array = _checked_array(entry_name(path), part, value)
        row_counts["/".join(path)] = len(array)
        return array

    checked = map_arrays(check, space, observations)
    if len(set(row_counts.values())) > 1:
        raise ValueError(f"observations must agree in their number of rows, got {row_counts}.")
    return checked


def _checked_array(name: str, space: gym.Space, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be an array, got rows of different lengths.") from None
    expected_shape = space.shape or ()
    if array.ndim == 0 or array.shape[1:] != expected_shape:
        expected = ", ".join(["N", *map(str, expected_shape)])
        advice = ""
        if array.shape == expected_shape:
            advice = " A single observation needs a leading batch dimension: observation[None]."
        raise ValueError(f"{name} must have shape [{expected}], got {list(array.shape)}.{advice}")
    dtype = np.dtype(space.dtype)
    # A list without rows has no kind of its own.
    if array.size and array.dtype.kind not in _ACCEPTED_KINDS[dtype.kind]:
        raise ValueError(f"{name} must be of dtype {dtype}, got {array.dtype}.")
    converted = array.astype(dtype)
    if dtype.kind in "iu":
        _check_numbers(name, space, array, converted)
    return converted


def _check_numbers(name: str, space: gym.Space, array: np.ndarray, converted: np.ndarray) -> None:
    if not np.array_equal(array, converted):
        raise ValueError(
            f"{name} must fit into {converted.dtype}, got numbers from {array.min()} to "
            f"{array.max()}."
        )
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        counts = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
        # In the space's own dtype start + count may wrap around.
        first = np.asarray(space.start, np.int64)
        last = first + np.asarray(counts, np.int64) - 1
        if np.any(converted < first) or np.any(converted > last):
            raise ValueError(
                f"{name} must lie between {first} and {last}, got numbers from "
                f"{converted.min()} to {converted.max()}."
            )
