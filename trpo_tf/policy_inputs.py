"""Observations and seeds as the named inputs of a served policy's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from trpo_tf.observation_check import check_observations
from trpo_tf.signatures import named_inputs
from trpo_tf.space_structure import map_arrays

# Kinds of NumPy dtypes that may stand for a kind without losing their meaning.
_ACCEPTED_KINDS = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}


def policy_inputs(
    space: gym.Space | None, specs: Mapping[str, Any], observations: Any
) -> tuple[dict[str, np.ndarray], bool]:
    """Brings observations into the form that a signature takes.

    Args:
        space: what the policy takes; None if nobody knows: observations are then one array, or
            arrays by the names of the inputs.
        specs: `tf.TensorSpec` of each input of the signature, by name.
        observations: [N, *O] or [*O].

    Returns:
        The inputs by name, each with a batch dimension, and whether it was a single observation.

    Raises:
        ValueError: if the observations do not fit.

    >>> inputs, single = policy_inputs(gym.spaces.Box(-1, 1, (2,)), {}, [0.5, 1])
    >>> inputs["observations"].tolist(), single
    ([[0.5, 1.0]], True)
    """
    if space is None:
        return _unchecked_inputs(observations, specs)
    single = _is_single(space, observations)
    if single:
        observations = map_arrays(
            lambda path, part, value: np.asarray(value)[np.newaxis], space, observations
        )
    return named_inputs(space, check_observations(space, observations)), single


def checked_array(name: str, values: Any, dtype: Any) -> np.ndarray:
    """Values in the dtype of a signature's input, none of them another than before.

    Whole numbers and truth values may stand for floats, and floats for those of another width.

    Args:
        name: of the input, for messages.
        values: an array, or nested lists.
        dtype: NumPy's, of the input.

    Raises:
        ValueError: if values are of a kind that cannot stand for the input's, or whole numbers do
            not fit into it.

    >>> checked_array("x", [1, 2], np.float32)
    array([1., 2.], dtype=float32)
    """
    dtype = np.dtype(dtype)
    array = np.asarray(values)
    # A list without entries has no kind of its own.
    if array.size and array.dtype.kind not in _ACCEPTED_KINDS.get(dtype.kind, array.dtype.kind):
        raise ValueError(f"{name} must be of dtype {dtype}, got {array.dtype}.")
    converted = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(array, converted):
        raise ValueError(
            f"{name} must fit into {dtype}, got numbers from {array.min()} to {array.max()}."
        )
    return converted


def checked_seeds(seeds: Any, num_rows: int, single: bool) -> np.ndarray:
    """The seeds of a draw as int32 [N, 2].

    Args:
        seeds: whole numbers of 32 bits, [N, 2], or [2] for a single observation.
        num_rows: N.
        single: whether it is a single observation.

    Raises:
        ValueError: if they do not fit.
    """
    array = np.asarray(seeds)
    expected = (2,) if single else (num_rows, 2)
    if array.shape != expected or array.dtype.kind not in "iu":
        raise ValueError(
            f"seeds must be whole numbers of shape {list(expected)}, got {array.dtype} of shape "
            f"{list(array.shape)}."
        )
    converted = array.astype(np.int32)
    if not np.array_equal(array, converted):
        raise ValueError(f"seeds must fit into int32, got {array.min()} to {array.max()}.")
    return converted[np.newaxis] if single else converted


def _is_single(space: gym.Space, observations: Any) -> bool:
    """Whether every array has exactly the shape of one observation."""
    matches: list[bool] = []

    def compare(path: Any, part: Any, value: Any) -> None:
        try:
            matches.append(np.shape(value) == (part.shape or ()))
        except ValueError:  # Rows of different lengths: left to the check of batches to refuse.
            matches.append(False)

    map_arrays(compare, space, observations)
    return all(matches)


def _unchecked_inputs(observations: Any, specs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    names = [name for name in specs if name != "seeds"]
    if not isinstance(observations, Mapping):
        observations = {names[0]: observations}
    if set(observations) != set(names):
        raise ValueError(f"the model takes {sorted(names)}, got {sorted(observations)}.")
    arrays = {
        name: checked_array(name, observations[name], specs[name].dtype.as_numpy_dtype)
        for name in names
    }
    ranks = [array.ndim - (specs[name].shape.rank or 0) for name, array in arrays.items()]
    single = all(rank == -1 for rank in ranks)
    for name, array in arrays.items():
        batch = array[np.newaxis] if single else array
        if not specs[name].shape.is_compatible_with(batch.shape):
            raise ValueError(
                f"{name} must have shape {specs[name].shape}, got {list(array.shape)}."
            )
        arrays[name] = batch
    return arrays, single
