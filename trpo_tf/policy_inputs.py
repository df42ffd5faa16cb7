"""Observations and seeds as the named inputs of a served policy's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from trpo_tf.observation_check import check_observations
from trpo_tf.signatures import named_inputs
from trpo_tf.space_structure import map_arrays


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
        name: np.asarray(observations[name], specs[name].dtype.as_numpy_dtype) for name in names
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
