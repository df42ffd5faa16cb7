"""Gymnasium spaces of every supported kind, drawn at random, and batches of their samples."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

BOX_DTYPES = ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]


def random_space(rng: np.random.Generator, depth: int = 2) -> gym.Space:
    """A space nested at most `depth` deep; keys of a Dict are in no particular order."""
    kinds = ["Box", "Discrete", "MultiDiscrete", "MultiBinary"]
    kind = rng.choice(kinds + ["Dict", "Tuple"] * (2 if depth else 0))
    if kind == "Dict":
        names = rng.permutation(["a", "b", "zebra", "Camera", "2nd", "under_score", "ö"])
        parts = [(str(name), random_space(rng, depth - 1)) for name in names[: rng.integers(1, 4)]]
        return gym.spaces.Dict(parts)
    if kind == "Tuple":
        return gym.spaces.Tuple([random_space(rng, depth - 1) for _ in range(rng.integers(1, 4))])
    shape = tuple(int(size) for size in rng.integers(1, 4, size=rng.integers(0, 4)))
    if kind == "Box":
        return random_box(rng, shape, str(rng.choice(BOX_DTYPES)))
    if kind == "Discrete":
        return gym.spaces.Discrete(int(rng.integers(1, 7)), start=int(rng.integers(-5, 6)))
    if kind == "MultiDiscrete":
        nvec, start = rng.integers(1, 6, size=shape or (2,)), rng.integers(-4, 5, shape or (2,))
        return gym.spaces.MultiDiscrete(nvec, start=start)
    return gym.spaces.MultiBinary(list(shape) or int(rng.integers(1, 5)))


def random_box(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> gym.spaces.Box:
    """Bounds are finite or infinite, entry by entry, where the dtype has infinities."""
    if dtype == "bool":
        return gym.spaces.Box(0, 1, shape, np.bool_)
    low = rng.integers(0 if dtype == "uint8" else -100, 20, size=shape)
    high = low + rng.integers(0, 100, size=shape)
    if np.dtype(dtype).kind != "f":
        return gym.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=np.dtype(dtype).type)
    low = np.where(rng.random(shape) < 0.3, -np.inf, low + rng.random(shape)).astype(dtype)
    high = np.where(rng.random(shape) < 0.3, np.inf, high + 1 + rng.random(shape)).astype(dtype)
    return gym.spaces.Box(low, high, shape, np.dtype(dtype).type)


def sample_batch(space: gym.Space, num_rows: int, seed: int) -> tuple[list[Any], Any]:
    """Samples of a space, and the same as one batch of arrays in the space's structure."""
    space.seed(seed)
    rows = [space.sample() for _ in range(num_rows)]
    return rows, stack_rows(space, rows)


def stack_rows(space: gym.Space, rows: list[Any]) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {
            key: stack_rows(part, [row[key] for row in rows]) for key, part in space.spaces.items()
        }
    if isinstance(space, gym.spaces.Tuple):
        return tuple(
            stack_rows(part, [row[i] for row in rows]) for i, part in enumerate(space.spaces)
        )
    return np.stack([np.asarray(row, space.dtype) for row in rows])
