"""Counters of samplers, there and back, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from trpo_tf.samplers.counters import Counters, read_counters

WHOLE = {"next_step": 8, "env_steps": 16, "lost_rollouts": 1, "dropped_rollouts": 2}


def test_of_any_sampler() -> None:
    assert read_counters(WHOLE) == Counters(8, 16, 1, 2)
    assert read_counters({"next_step": 8, "env_steps": 16}) == Counters(8, 16)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [-1, float("inf"), 10**400, "8", None, [8], True])
def test_what_is_no_count_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="state must be what Sampler"):
        read_counters({**WHOLE, name: value})


@pytest.mark.parametrize("state", [{}, {"env_steps": 16}, {"next_step": 8}, [1], "x", None])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="state must be what Sampler"):
        read_counters(state)
