"""Gymnasium spaces in TensorFlow: which are supported, flat vectors, pictures, tensor specs."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf.space_structure import map_arrays

_ARRAYS = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)
_OBSERVATIONS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these"
_ACTIONS = "Box of floats, Discrete, MultiDiscrete and MultiBinary"
_MAX_FLAT_SIZE = 2**24
# What served models take beside the observations.
_TAKEN_NAMES = ("seeds",)


def validate_observation_space(space: gym.Space) -> None:
    """Checks that policies can be made for an observation space.

    Supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict (with strings as keys) and
    Tuple of these, nested at will.

    Args:
        space: of a single environment.

    Raises:
        TypeError: if it is no Gymnasium space.
        ValueError: if it or a part of it is not supported or empty, or if its flat vector has
            more than 2^24 entries.

    Example:
        >>> validate_observation_space(gym.spaces.Box(-1, 1, (3,)))
    """
    _check_is_space("observation", space)
    map_arrays(lambda path, part, value: _check_observation_part(space, part), space)
    size = flat_size(space)
    if not 1 <= size <= _MAX_FLAT_SIZE:
        raise ValueError(
            f"observation space {space} flattens to {size} entries, expected 1 to "
            f"{_MAX_FLAT_SIZE}. Wrap the environment to change what it observes."
        )


def validate_action_space(space: gym.Space) -> None:
    """Checks that policies can be made for an action space.

    Supported are Box (of floats; finite, infinite or mixed bounds; any shape), Discrete (any
    start), MultiDiscrete (any start, any shape) and MultiBinary (any shape).

    Args:
        space: of a single environment.

    Raises:
        TypeError: if it is no Gymnasium space.
        ValueError: if it is not supported or empty.

    Example:
        >>> validate_action_space(gym.spaces.Discrete(3, start=-1))
    """
    _check_is_space("action", space)
    if not isinstance(space, _ARRAYS):
        raise ValueError(f"action space {space} is not supported. Supported are {_ACTIONS}.")
    if isinstance(space, gym.spaces.Box) and space.dtype not in (
        np.float16,
        np.float32,
        np.float64,
    ):
        raise ValueError(
            f"action space {space} is a Box of {space.dtype}, expected float16, float32 or "
            "float64. For whole numbers let the environment use Discrete or MultiDiscrete."
        )
    if flat_size(space) < 1:
        raise ValueError(f"action space {space} has no entries, expected at least one.")


def flat_size(space: gym.Space) -> int:
    """The number of entries of one observation as a flat vector, where a one-hot counts n.

    Example:
        >>> flat_size(gym.spaces.Tuple([gym.spaces.Box(0, 1, (3,)), gym.spaces.Discrete(4)]))
        7
    """
    return int(gym.spaces.utils.flatdim(space))


def flatten_observations(space: gym.Space, observations: Any, dtype: Any) -> tf.Tensor:
    """Turns a batch of observations into flat vectors.

    Row by row what `gymnasium.spaces.flatten` gives: a Box and a MultiBinary are cast and
    reshaped, a Discrete and every entry of a MultiDiscrete become a one-hot (their start taken
    off), and the parts of a Dict, in the space's own order of keys, and of a Tuple are
    concatenated. A number outside its range gives zeros.

    Args:
        space: a supported observation space of a single environment.
        observations: the batch, arrays [N, ...] in the space's structure.
        dtype: of the result.

    Returns:
        [N, flat_size(space)].

    Raises:
        ValueError: if `observations` has another structure than the space.

    Example:
        >>> space = gym.spaces.Tuple([gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(3, start=1)])
        >>> flatten_observations(space, (np.array([[0.5, 0.2]]), np.array([2])), tf.float32).numpy()
        array([[0.5, 0.2, 0. , 1. , 0. ]], dtype=float32)
    """
    parts: list[tf.Tensor] = []
    map_arrays(
        lambda path, part, value: parts.append(_flatten_array(part, value, dtype)),
        space,
        observations,
    )
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)


def continuous_entries(space: gym.Space) -> np.ndarray:
    """Which entries of the flat vector come from a Box, and are therefore worth normalising.

    Returns:
        [flat_size(space)] bool.

    Example:
        >>> space = gym.spaces.Tuple([gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(3)])
        >>> continuous_entries(space).tolist()
        [True, True, False, False, False]
    """
    parts: list[np.ndarray] = []
    map_arrays(
        lambda path, part, value: parts.append(
            np.full(flat_size(part), isinstance(part, gym.spaces.Box))
        ),
        space,
    )
    return np.concatenate(parts)


def is_image(space: gym.Space) -> bool:
    """Whether observations are pictures: a Box of bytes with three dimensions.

    Example:
        >>> is_image(gym.spaces.Box(0, 255, (4, 84, 84), np.uint8))
        True
    """
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def image_channels_last(space: gym.Space, observations: Any) -> tf.Tensor:
    """Brings a batch of pictures into the order [N, height, width, channels].

    The channels are the smaller of the first and the last dimension, the last if they are equal.

    Args:
        space: one that `is_image`.
        observations: [N, *space.shape].

    Example:
        >>> space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        >>> image_channels_last(space, np.zeros([2, 4, 84, 84], np.uint8)).shape.as_list()
        [2, 84, 84, 4]
    """
    observations = tf.convert_to_tensor(observations)
    channels_first = space.shape is not None and space.shape[0] < space.shape[-1]
    if channels_first:
        return tf.transpose(observations, [0, 2, 3, 1])
    return observations


def observation_specs(space: gym.Space, batch_size: int | None = None) -> Any:
    """Tensor specs of a batch of observations, in the space's structure.

    Their names are all different and fit for the inputs of a served model: `observations` for a
    single array; the keys of a Dict, those of nested spaces joined by `_`; `observations_0` and so
    on for a Tuple. Characters other than letters, digits and `_` become `_`. A name that would not
    begin with a letter, or that served models use for something else (`seeds`), is preceded by
    `observations_`; to one that is taken, `_2`, `_3` and so on are added.

    Args:
        space: a supported observation space of a single environment.
        batch_size: N, or None if it is not known.

    Example:
        >>> observation_specs(gym.spaces.Dict(position=gym.spaces.Box(0, 1, (3,))))
        {'position': TensorSpec(shape=(None, 3), dtype=tf.float32, name='position')}
    """
    rooted = isinstance(space, gym.spaces.Dict)
    names: list[str] = []

    def spec(path: tuple[str, ...], part: gym.Space, value: None) -> tf.TensorSpec:
        names.append(_input_name(path if rooted else ("observations", *path), names))
        return tf.TensorSpec([batch_size, *(part.shape or ())], part.dtype, names[-1])

    return map_arrays(spec, space)


def _input_name(path: tuple[str, ...], taken: list[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", "_".join(path))
    if not re.match(r"[A-Za-z]", name) or name in _TAKEN_NAMES:
        name = f"observations_{name}"
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 2))
    return next(free for free in (name, *numbered) if free not in taken)


def _check_is_space(kind: str, space: Any) -> None:
    if not isinstance(space, gym.Space):
        raise TypeError(
            f"{kind}_space must be a gymnasium.Space, got {type(space).__name__}. "
            f"Environments have it as single_{kind}_space or {kind}_space."
        )


def _check_observation_part(space: gym.Space, part: gym.Space) -> None:
    # TensorFlow has no float wider than 64 bits.
    if not isinstance(part, _ARRAYS) or np.dtype(part.dtype).itemsize > 8:
        raise ValueError(
            f"observation space {space} is not supported because of {part}. "
            f"Supported are {_OBSERVATIONS}."
        )


def _flatten_array(space: gym.Space, values: Any, dtype: Any) -> tf.Tensor:
    if isinstance(space, gym.spaces.Discrete):
        return _one_hots(values, np.reshape(space.n, [1]), np.reshape(space.start, [1]), dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _one_hots(values, space.nvec.ravel(), space.start.ravel(), dtype)
    return tf.reshape(tf.cast(values, dtype), [-1, flat_size(space)])


def _one_hots(values: Any, counts: np.ndarray, starts: np.ndarray, dtype: Any) -> tf.Tensor:
    """One-hots of [N, ...] numbers, side by side; entry i counts `counts[i]` from `starts[i]`."""
    counts, starts = counts.astype(np.int64), starts.astype(np.int64)
    # Comparing every number with each of its possible values makes one-hots of exactly the right
    # widths, out of ops that every runtime has.
    owners = np.repeat(np.arange(len(counts)), counts)
    firsts = np.cumsum(counts) - counts
    choices = np.arange(len(owners)) - firsts[owners] + starts[owners]
    numbers = tf.reshape(tf.cast(values, tf.int64), [-1, len(counts)])
    return tf.cast(tf.equal(tf.gather(numbers, owners, axis=1), choices), dtype)
