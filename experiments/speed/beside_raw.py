"""Collection and bare stepping of the same environments, rollout by rollout in alternation.

Standard library only: the peers' environment reads this too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any


def measure(
    collect: Callable[[], Any],
    sent_actions: Callable[[Any], Iterable[Any]],
    step: Callable[[Any], Any],
    rollouts: int,
) -> dict[str, float]:
    """Seconds, by the clock and of the processors, of both.

    Args:
        collect: collects a rollout.
        sent_actions: what it has sent to the environments, step by step; not timed.
        step: sends actions to identical environments that nothing else steps.
        rollouts: how many are timed; one before them is not, as it compiles.
    """
    found = dict.fromkeys(
        ("seconds", "processor_seconds", "raw_seconds", "raw_processor_seconds"), 0.0
    )
    for number in range(rollouts + 1):
        begin, processor = time.perf_counter(), time.process_time()
        collected = collect()
        seconds, used = time.perf_counter() - begin, time.process_time() - processor
        actions = list(sent_actions(collected))
        begin, processor = time.perf_counter(), time.process_time()
        for row in actions:
            step(row)
        if number:
            found["seconds"] += seconds
            found["processor_seconds"] += used
            found["raw_seconds"] += time.perf_counter() - begin
            found["raw_processor_seconds"] += time.process_time() - processor
    return found
