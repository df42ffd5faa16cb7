"""Spaces that one policy serves, and spaces that it does not."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.alike_spaces import are_alike

Box, Dict, Discrete, Tuple = gym.spaces.Box, gym.spaces.Dict, gym.spaces.Discrete, gym.spaces.Tuple

BOX = Box(-1, 1, (2,))
WIDE = Box(-1, 1, (2,), np.float64)
TENTHS = Box(np.float32([-0.1]), np.float32([0.7]))
WIDE_TENTHS = Box(np.float64([-0.1]), np.float64([0.7]), dtype=np.float64)
UNBOUNDED = Box(-np.inf, np.inf, (2,))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (BOX, WIDE),
        (TENTHS, WIDE_TENTHS),
        (UNBOUNDED, Box(-np.inf, np.inf, (2,), np.float64)),
        (Discrete(3), Discrete(3)),
        (Dict(a=BOX, b=Discrete(2)), Dict(b=Discrete(2), a=WIDE)),
        (Tuple([BOX, Tuple([BOX])]), Tuple([WIDE, Tuple([WIDE])])),
    ],
)
def test_the_width_of_a_float_does_not_count(own: gym.Space, other: gym.Space) -> None:
    for exact_bounds in (True, False):
        assert are_alike(own, other, exact_bounds)
        assert are_alike(other, own, exact_bounds)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (BOX, UNBOUNDED),
        (BOX, Box(-1, 2, (2,))),
        (BOX, Box(-2, 1, (2,), np.float64)),
        (Dict(a=BOX), Dict(a=UNBOUNDED)),
        (Tuple([BOX]), Tuple([UNBOUNDED])),
    ],
)
def test_bounds_count_when_asked(own: gym.Space, other: gym.Space) -> None:
    assert are_alike(own, other, exact_bounds=False)
    assert not are_alike(own, other, exact_bounds=True)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (BOX, Box(-1, 1, (3,))),
        (Box(0, 1, (2,)), Box(0, 1, (2,), np.uint8)),
        (BOX, Discrete(2)),
        (Discrete(2), Discrete(2, start=1)),
        (Dict(a=BOX), Dict(b=BOX)),
        (Dict(a=BOX), Dict(a=BOX, b=BOX)),
        (Tuple([BOX]), Tuple([BOX, BOX])),
        (Tuple([BOX]), Dict(a=BOX)),
        (Dict(a=BOX), Dict(a=Discrete(2))),
    ],
)
def test_other_arrays_are_not_alike(own: gym.Space, other: gym.Space) -> None:
    assert not are_alike(own, other, exact_bounds=False)
    assert not are_alike(other, own, exact_bounds=False)
