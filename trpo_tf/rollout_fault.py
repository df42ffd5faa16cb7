"""Where a rollout that cannot be learned from goes wrong first."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trpo_tf.types import Rollout

# `TRPO`'s own limit for float32.
_LARGEST = 1e-6 * float(np.sqrt(np.finfo(np.float32).max))
_FIELDS = ("observations", "actions", "rewards", "behaviour_log_probs")


def first_fault(rollout: Rollout) -> str | None:
    """Names the first number of a rollout that is not finite or too large to learn from.

    Args:
        rollout: of NumPy arrays or tensors; rows that the mask leaves out do not count.

    Returns:
        Which environment and step, and what it holds; None where all is sound.

    >>> row, flag = np.zeros([2, 1]), np.zeros([2, 1], bool)
    >>> rewards = np.array([[1.0], [np.nan]])
    >>> rollout = Rollout(np.zeros([3, 1, 4]), row, row, rewards, flag, flag, ~flag, row)
    >>> first_fault(rollout)
    'environment 0 gave the reward nan in step 1 of the rollout'
    """
    mask = np.asarray(rollout.mask)
    found: list[tuple[int, int, str]] = []
    for name in _FIELDS:
        for leaf in tf.nest.flatten(getattr(rollout, name)):
            values = np.asarray(leaf)
            if not np.issubdtype(values.dtype, np.floating):
                continue
            # The limit is infinite in float16.
            values = values.astype(np.float64)
            counted = mask if len(values) == len(mask) else _seen(mask)
            is_bad = ~(np.abs(values) <= _LARGEST)
            bad = is_bad & counted.reshape(*counted.shape, *[1] * (values.ndim - 2))
            if bad.any():
                step, env, *place = np.argwhere(bad)[0].tolist()
                # Observation t + 1 is the answer to the action of row t.
                time = step - 1 if name == "observations" else step
                found.append((time, env, _words(name, values, step, env, place)))
    if not found:
        return None
    _, env, words = min(found)
    return f"environment {env} gave {words}"


def _words(name: str, values: np.ndarray, step: int, env: int, place: list[int]) -> str:
    number = f"{values[(step, env, *place)]:g}"
    index = f"{place} " if place else ""
    if name == "observations":
        where = f"after step {step - 1} of the rollout" if step else "before the rollout"
        return f"the observation {index}{number} {where}"
    what = name.removesuffix("s").replace("_", " ")
    return f"the {what} {index}{number} in step {step} of the rollout"


def _seen(mask: np.ndarray) -> np.ndarray:
    """[T+1, B]: observations that a row that counts acts on, or leads to."""
    none = np.zeros_like(mask[:1])
    return np.concatenate([mask, none]) | np.concatenate([none, mask])
