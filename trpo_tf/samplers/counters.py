"""How far a sampler has come, as a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trpo_tf.counts import checked_count


class Counters(NamedTuple):
    """What any sampler's `state()` holds; a synchronous one loses and drops nothing.

    Attributes:
        next_step: number of the vector environment's next step.
        env_steps: environment steps made.
        lost_rollouts: that died unfinished with what collected them.
        dropped_rollouts: that were too old.
    """

    next_step: int
    env_steps: int
    lost_rollouts: int = 0
    dropped_rollouts: int = 0


def read_counters(state: Mapping[str, Any]) -> Counters:
    """Takes the counters out of what should be a sampler's `state()`.

    Raises:
        ValueError: one is missing or is no count.

    >>> read_counters({"next_step": 8, "env_steps": 16}).lost_rollouts
    0
    """
    try:
        steps = (checked_count(state[name]) for name in Counters._fields[:2])
        rollouts = (checked_count(state.get(name, 0)) for name in Counters._fields[2:])
        return Counters(*steps, *rollouts)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"state must be what Sampler.state() returned, got {str(state)[:200]!r} ({error})."
        ) from error
