"""The loop of a process that measures on request: a line of JSON in, a line of JSON out.

Standard library only: the peers' environment runs this too.

    {"part": "update", "case": {…}}   prepares that work and does it once; answers {}
    {"repetitions": 3}                does it three times; answers seconds and what else is known

The process waits for its next line without using a processor, so that several of them can be
measured in turn.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


def _nothing() -> dict[str, Any]:
    return {}


class Work(NamedTuple):
    """What is timed.

    Attributes:
        run: the work; returns when its result is there.
        restore: before each repetition, not timed, so that each does the same.
        facts: after the repetitions, not timed: what else is reported.
    """

    run: Callable[[], Any]
    restore: Callable[[], Any] = _nothing
    facts: Callable[[], dict[str, Any]] = _nothing


def serve(prepare: Mapping[str, Callable[[dict[str, Any]], Work]]) -> None:
    """Answers on standard output until standard input ends; all that is printed goes elsewhere."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "part" in request:
            # The last work's memory is free before the next one takes its own.
            work = None
            gc.collect()
            work = prepare[request["part"]](request["case"])
            _timed(work)
            answer: dict[str, Any] = {}
        else:
            assert work is not None
            answer = _measured(work, request["repetitions"])
        print(json.dumps(answer), file=answers, flush=True)


def _measured(work: Work, repetitions: int) -> dict[str, Any]:
    found = [_timed(work) for _ in range(repetitions)]
    seconds = statistics.median(wall for wall, _ in found)
    used = sum(processor for _, processor in found) / sum(wall for wall, _ in found)
    return {"seconds": seconds, "processors_used": used, **work.facts()}


def _timed(work: Work) -> tuple[float, float]:
    work.restore()
    wall, processor = time.perf_counter(), time.process_time()
    work.run()
    return time.perf_counter() - wall, time.process_time() - processor
