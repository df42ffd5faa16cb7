"""Parts "end_to_end" and "memory": whole trainings of Walker2d."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from experiments.speed import our_command
from experiments.speed.bench import Bench
from experiments.speed.settings import ENV, EQUAL, MODULES, PEER_ROWS, PEERS_OWN
from experiments.speed.sides import OURS, OURS_IN_GYMNASIUM, SIDES, run_to_end

_EQUAL_UPDATES = {"warm_up": 2, "updates": 12}
_DEFAULT_STEPS = 50_000
_DEFAULT_WARM_UP = 2


def end_to_end(bench: Bench) -> None:
    """Steps a second on equal settings and on each side's own."""
    for alternation in range(bench.alternations):
        if bench.is_done("end_to_end", "equal settings", SIDES, alternation):
            continue
        for side in SIDES:
            key = ("end_to_end", "equal settings", side, alternation)
            arguments = {"env": ENV, **_EQUAL_UPDATES, **EQUAL[side]}
            ended = bench.pythons.run(side, MODULES[side], arguments)
            bench.add_speed(_named(key), ended.with_peak())
    own_settings(bench)


def own_settings(bench: Bench) -> None:
    """Trainings on each side's own settings, for their speed and for their memory.

    Ours takes EnvPool, as `trpo_tf.train` does where it is installed, and a second time does not.
    """
    sides, memory = (*SIDES, OURS_IN_GYMNASIUM), f"own settings, {_DEFAULT_STEPS:,} steps"
    for alternation in range(bench.alternations):
        has_speeds = bench.is_done("end_to_end", "own settings", sides, alternation)
        if bench.is_done("memory", memory, sides, alternation) and has_speeds:
            continue
        for side in sides:
            if side == OURS:
                result = _ours()
            elif side == OURS_IN_GYMNASIUM:
                result = _ours(vectorization="sync")
            else:
                result = _theirs(bench, side)
            bench.add_speed(_named(("end_to_end", "own settings", side, alternation)), result)
            peak = _named(("memory", memory, side, alternation))
            bench.results.add(**peak, value=result["peak_mib"], unit="MiB")


def _ours(**settings: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        settings = {"env": ENV, "total_steps": str(_DEFAULT_STEPS), **settings}
        ended = run_to_end(our_command.command(Path(directory), **settings), {})
        rows = our_command.progress(Path(directory))[_DEFAULT_WARM_UP - 1 :]
    begin, end = rows[0], rows[-1]
    return {
        "steps": float(end["env_steps"]) - float(begin["env_steps"]),
        "seconds": float(end["wall_time"]) - float(begin["wall_time"]),
        "collecting_seconds": sum(float(row["collect_seconds"]) for row in rows[1:]),
        **ended.with_peak(),
    }


def _theirs(bench: Bench, side: str) -> dict[str, float]:
    updates = _DEFAULT_STEPS // PEER_ROWS[side] - _DEFAULT_WARM_UP
    arguments = {"env": ENV, "warm_up": _DEFAULT_WARM_UP, "updates": updates, **PEERS_OWN[side]}
    ended = bench.pythons.run(side, MODULES[side], arguments)
    return ended.with_peak()


def _named(key: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("part", "case", "side", "alternation"), key, strict=True))
