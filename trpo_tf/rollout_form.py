"""What a rollout of two spaces is made of: its arrays' names, shapes, dtypes and ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from trpo_tf import spaces
from trpo_tf.space_structure import map_arrays
from trpo_tf.types import Rollout

NOT_CURRENT = -1
"""The policy version of rows that no version of the policy at hand has drawn."""

_WIDTHS = {
    "f": ("float16", "float32", "float64"),
    "i": ("int8", "int16", "int32", "int64"),
    "u": ("uint8", "uint16", "uint32", "uint64"),
    "b": ("bool",),
}
# What distributions over whole numbers take.
_CHOICES = ("int32", "int64")
_OPTIONAL = ("mask", "policy_version")
# The logarithm of a probability of 1 may be rounded to a little more than 0.
_ROUNDING = 1e-3


class _Field(NamedTuple):
    """What one array must be.

    Attributes:
        shape: after T and B.
        dtypes: those that are allowed.
        extra: rows more than T.
        bounds: least and largest whole number, or None.
    """

    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    extra: int = 0
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    def describe_shape(self) -> str:
        """The shape in letters: [T+1, B, 3]."""
        return f"[{', '.join(['T+1' if self.extra else 'T', 'B', *map(str, self.shape)])}]"


class RolloutForm:
    """What rollouts of two spaces are made of, and what can be wrong with one.

    A rollout is taken apart into leaves: arrays, tensors or tensor specs by the names that messages
    and files call them, which are the fields of `Rollout`, with the parts of the observations of a
    Dict or Tuple space apart: `observations['camera']['0']`.

    Args:
        observation_space: of one environment.
        action_space: of one environment.

    Attributes:
        fields: of each leaf, what it must be.

    Raises:
        TypeError, ValueError: for spaces that are not supported.

    >>> form = RolloutForm(gym.spaces.Dict(eye=gym.spaces.Box(0, 1, (3,))), gym.spaces.Discrete(2))
    >>> list(form.fields)[:3]
    ["observations['eye']", 'actions', 'behaviour_log_probs']
    """

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        spaces.validate_observation_space(observation_space)
        spaces.validate_action_space(action_space)
        self.observation_space = observation_space
        self.has_choices = not isinstance(action_space, gym.spaces.Box)
        row = _Field((), _WIDTHS["f"])
        flag = _Field((), _WIDTHS["b"])
        self.fields: dict[str, _Field] = {}
        map_arrays(self._add_observations, observation_space)
        self.fields |= {
            "actions": _Field(
                action_space.shape or (),
                _CHOICES if self.has_choices else _WIDTHS["f"],
                bounds=_bounds(action_space, counts_from_zero=True),
            ),
            "behaviour_log_probs": row,
            "rewards": row,
            "terminated": flag,
            "truncated": flag,
            "mask": flag,
            "policy_version": _Field((), _CHOICES),
        }

    def leaves(self, rollout: Any) -> dict[str, Any]:
        """The leaves of a rollout, optional ones if present.

        Args:
            rollout: a `Rollout`, or a dictionary with its names or with those of the leaves.

        Raises:
            TypeError: for anything else.
            ValueError: names or observations have another structure.
        """
        parts = _named(rollout)
        leaves: dict[str, Any] = {}
        if "observations" in parts:
            map_arrays(
                lambda path, _, value: leaves.update({_leaf_name(path): value}),
                self.observation_space,
                parts.pop("observations"),
            )
        leaves |= parts
        self._check_names(leaves)
        return leaves

    def check_structure(self, leaves: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """Checks dtypes and known sizes of arrays or tensor specs.

        Returns:
            T and B, None where they are not known.

        Raises:
            ValueError: for what can never fit; names it.
        """
        sizes = {
            name: _checked_sizes(name, self.fields[name], leaf) for name, leaf in leaves.items()
        }
        steps = {
            size - self.fields[name].extra for name, (size, _) in sizes.items() if size is not None
        }
        envs = {size for _, size in sizes.values() if size is not None}
        if len(steps) > 1 or len(envs) > 1 or min(steps | envs, default=1) < 1:
            found = ", ".join(f"{name} {list(size)}" for name, size in sizes.items())
            raise ValueError(
                "T >= 1 steps of B >= 1 environments must be [T+1, B] in observations and [T, B] "
                f"in all else, got {found}."
            )
        return next(iter(steps), None), next(iter(envs), None)

    def size_faults(self, leaves: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Each thing that can be wrong with sizes, and whether it is right; for tensors."""
        steps, envs = tf.unstack(tf.shape(leaves["rewards"]))
        yield "it has no rows", (steps > 0) & (envs > 0)
        for name, leaf in leaves.items():
            field = self.fields[name]
            expected = tf.stack([steps + field.extra, envs, *field.shape])
            yield (
                f"{name} must have shape {field.describe_shape()} where rewards have [T, B]",
                tf.reduce_all(tf.shape(leaf) == expected),
            )

    def number_faults(self, leaves: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Each thing that can be wrong with numbers, and whether it is right; for all leaves."""
        for name, field in self.fields.items():
            for text, is_sound in self._judgements(name, leaves[name]):
                counts = True if field.extra else _to_rank(leaves["mask"], is_sound)
                yield f"{name} must {text}", tf.reduce_all(is_sound | tf.logical_not(counts))

    def mended(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """All leaves, with sound numbers in the place of what rows that do not count may hold.

        They weigh nothing, but a policy must be able to take them.
        """
        return {name: self._mended(name, leaves[name]) for name in self.fields}

    def filled(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """All leaves, those that are missing filled in: every row counts, none is current."""
        shape = tf.shape(leaves["rewards"])
        versions = tf.fill(shape, tf.constant(NOT_CURRENT, tf.int64))
        return {"mask": tf.ones(shape, bool), "policy_version": versions, **leaves}

    def rollout(self, leaves: Mapping[str, Any]) -> Rollout:
        """All leaves put together."""
        observations = map_arrays(lambda path, *_: leaves[_leaf_name(path)], self.observation_space)
        rows = {name: leaves[name] for name in Rollout._fields if name != "observations"}
        return Rollout(observations=observations, **rows)

    def _judgements(self, name: str, leaf: Any) -> Iterator[tuple[str, Any]]:
        """Of each entry, whether it is as the text says."""
        bounds = self.fields[name].bounds
        if leaf.dtype in (tf.float16, tf.float32, tf.float64):
            yield "be finite, got NaN or infinity", tf.math.is_finite(leaf)
        if bounds is not None:
            low, high = bounds
            numbers = tf.cast(leaf, tf.int64)
            yield (
                f"lie between {_shown(low)} and {_shown(high)}",
                (numbers >= low) & (numbers <= high),
            )
        if name == "behaviour_log_probs" and self.has_choices:
            yield "be logarithms of probabilities, <= 0", leaf <= tf.cast(_ROUNDING, leaf.dtype)

    def _mended(self, name: str, leaf: Any) -> Any:
        bounds = self.fields[name].bounds
        sound = tf.cast(0 if bounds is None else bounds[0], leaf.dtype)
        for _, is_sound in self._judgements(name, leaf):
            leaf = tf.where(is_sound, leaf, sound)
        return leaf

    def _check_names(self, leaves: Mapping[str, Any]) -> None:
        if "behaviour_log_probs" not in leaves:
            raise ValueError(
                "a rollout must have behaviour_log_probs, the log-probabilities of its actions "
                "under the policy that drew them: without them nothing can be learnt from another "
                "policy's actions. Log them while acting."
            )
        missing = [name for name in self.fields if name not in {*leaves, *_OPTIONAL}]
        unknown = [name for name in leaves if name not in self.fields]
        if missing or unknown:
            raise ValueError(
                f"a rollout must have the fields {', '.join(self.fields)}; missing: {missing}, "
                f"unknown: {unknown}."
            )

    def _add_observations(self, path: tuple[str, ...], space: gym.Space, value: None) -> None:
        self.fields[_leaf_name(path)] = _Field(
            space.shape or (),
            _WIDTHS[np.dtype(space.dtype).kind],
            extra=1,
            bounds=_bounds(space, counts_from_zero=False),
        )


def _leaf_name(path: tuple[str, ...]) -> str:
    return "observations" + "".join(f"[{key!r}]" for key in path)


def _named(rollout: Any) -> dict[str, Any]:
    if isinstance(rollout, Rollout):
        rollout = rollout._asdict()
    if not isinstance(rollout, Mapping):
        raise TypeError(
            "a rollout must be a trpo_tf.Rollout or a dictionary with its names, got "
            f"{type(rollout).__name__}."
        )
    # A dataset's specification has a type of its own for None.
    return {
        name: part
        for name, part in rollout.items()
        if part is not None and not isinstance(part, tf.NoneTensorSpec)
    }


def _checked_sizes(name: str, field: _Field, leaf: Any) -> tuple[int | None, int | None]:
    """The first two sizes of an array or spec whose dtype and other sizes are as they must be."""
    if not isinstance(leaf, np.ndarray | tf.TensorSpec):
        raise ValueError(f"{name} must be an array or a tensor, got {type(leaf).__name__}.")
    # (NumPy's own `name` would not tell of another byte order.)
    dtype = leaf.dtype.name if isinstance(leaf, tf.TensorSpec) else str(leaf.dtype)
    if dtype not in field.dtypes:
        raise ValueError(f"{name} must be of dtype {' or '.join(field.dtypes)}, got {dtype}.")
    shape = tf.TensorShape(leaf.shape)
    if shape.rank is None:
        raise ValueError(
            f"{name} must have shape {field.describe_shape()}, got a tensor whose rank is not "
            "known. Say it with tf.ensure_shape."
        )
    sizes = shape.as_list()
    if not shape.is_compatible_with([None, None, *field.shape]):
        raise ValueError(f"{name} must have shape {field.describe_shape()}, got {sizes}.")
    return sizes[0], sizes[1]


def _to_rank(mask: Any, entries: Any) -> Any:
    """The mask [T, B] with as many dimensions of 1 behind as the entries have more."""
    return tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (entries.shape.rank - 2)], 0))


def _bounds(space: gym.Space, counts_from_zero: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the largest whole number of an array space; None for a Box."""
    if isinstance(space, gym.spaces.MultiBinary):
        return np.asarray(0), np.asarray(1)
    if not isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
        return None
    counts = np.asarray(space.n if isinstance(space, gym.spaces.Discrete) else space.nvec, np.int64)
    first = np.zeros_like(counts) if counts_from_zero else np.asarray(space.start, np.int64)
    return first, first + counts - 1


def _shown(bound: Any) -> str:
    return " ".join(str(bound).split())
