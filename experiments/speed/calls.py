"""Parts "update" and "value": single calls, in long-lived processes that take turns.

Each side prepares a case and does it once; then the sides take turns, and while one is measured the
others sleep. A value is the median of some repetitions.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from experiments.speed import cases
from experiments.speed.bench import Bench
from experiments.speed.sides import OURS, SB3, SIDES, TIANSHOU, Server

_MODULES = {OURS: "ours", SB3: "sb3_side", TIANSHOU: "tianshou_side"}


def update(bench: Bench) -> None:
    """The policy update alone, and the matrix products that ours needs."""
    with contextlib.ExitStack() as stack:
        servers = _servers(bench, stack)
        for case in cases.UPDATES:
            _measure(bench, "update", case, servers)


def value(bench: Bench) -> None:
    """The value regression alone."""
    with contextlib.ExitStack() as stack:
        servers = _servers(bench, stack)
        for case in cases.VALUES:
            _measure(bench, "value", case, {side: servers[side] for side in case.sides})


def _servers(bench: Bench, stack: contextlib.ExitStack) -> dict[str, Server]:
    return {
        side: stack.enter_context(Server(bench.pythons.of[side], _MODULES[side])) for side in SIDES
    }


def _measure(
    bench: Bench,
    part: str,
    case: cases.UpdateCase | cases.ValueCase,
    servers: Mapping[str, Server],
) -> None:
    waiting = [
        (alternation, side)
        for alternation in range(bench.alternations)
        if not bench.is_done(part, case.name, servers, alternation)
        for side in servers
    ]
    for side in dict.fromkeys(side for _, side in waiting):
        servers[side].ask(part=part, case=dataclasses.asdict(case))
    for alternation, side in waiting:
        answer = servers[side].ask(repetitions=case.repetitions)
        seconds, used = answer.pop("seconds"), answer.pop("processors_used")
        if answer:
            bench.floor.add(case=case.name, alternation=alternation, seconds=seconds, **answer)
        key = {"part": part, "case": case.name, "side": side, "alternation": alternation}
        bench.results.add(**key, value=seconds, unit="s", processors_used=used)
