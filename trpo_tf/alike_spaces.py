"""Whether two Gymnasium spaces hold the same arrays, so that one policy serves both."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


def are_alike(own: gym.Space, other: gym.Space, exact_bounds: bool) -> bool:
    """Whether two spaces hold the same arrays; the width of a float does not count.

    EnvPool gives the environments of Gymnasium other floats and other bounds of observations.
    Boxes are alike if shape and kind of dtype are the same, Dict and Tuple if their parts are,
    and all others if they are equal. The order of a Dict's keys does not count.

    Args:
        own: of a policy.
        other: of an environment.
        exact_bounds: whether the bounds of boxes must agree as well, up to rounding. Models use
            those of actions, not those of observations.

    Returns:
        Whether they are alike.

    Example:
        >>> wide, narrow = gym.spaces.Box(-1, 1, (2,), np.float64), gym.spaces.Box(-1, 1, (2,))
        >>> wide == narrow, are_alike(wide, narrow, exact_bounds=True)
        (False, True)
    """
    if isinstance(own, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return own.keys() == other.keys() and all(
            are_alike(own[key], other[key], exact_bounds)
            for key in own.keys()  # noqa: SIM118
        )
    if isinstance(own, gym.spaces.Tuple) and isinstance(other, gym.spaces.Tuple):
        return len(own) == len(other) and all(
            are_alike(part, other[index], exact_bounds) for index, part in enumerate(own)
        )
    if isinstance(own, gym.spaces.Box) and isinstance(other, gym.spaces.Box):
        return (
            own.shape == other.shape
            and np.dtype(own.dtype).kind == np.dtype(other.dtype).kind
            and not (exact_bounds and _bounds_differ(own, other))
        )
    return own == other


def _bounds_differ(own: gym.spaces.Box, other: gym.spaces.Box) -> bool:
    return not (np.allclose(own.low, other.low) and np.allclose(own.high, other.high))
