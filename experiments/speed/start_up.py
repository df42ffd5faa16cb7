"""Part "start_up": seconds from the shell to the first environment step and the first update.

Ours starts a second time with what the first has left in the cache directory (XDG_CACHE_HOME): so
far nothing, as the peers, so that a second start takes as long.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from pathlib import Path

from experiments.speed import our_command
from experiments.speed.bench import Bench
from experiments.speed.settings import MODULES, PEERS_OWN
from experiments.speed.sides import OURS, ROOT, SIDES, environment
from experiments.speed.stamped_env import ENV_ID, FILE_VARIABLE
from trpo_tf import presets

_LOOK_EVERY = 0.02
_ENDS = ("step", "update")
_STARTS = {side: ("first", "second") if side == OURS else ("first",) for side in SIDES}


def start_up(bench: Bench) -> None:
    """One start of each side and a second one of ours, in turn."""
    for alternation in range(bench.alternations):
        if all(
            bench.is_done("start_up", _case(start, end), sides, alternation)
            for start, sides in (("first", SIDES), ("second", (OURS,)))
            for end in _ENDS
        ):
            continue
        for side in SIDES:
            with tempfile.TemporaryDirectory() as cache:
                for start in _STARTS[side]:
                    _measure(bench, alternation, side, start, cache)


def _measure(bench: Bench, alternation: int, side: str, start: str, cache: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        stamp = Path(directory) / "first_step"
        variables = {FILE_VARIABLE: str(stamp), "XDG_CACHE_HOME": cache}
        if side == OURS:
            began, first_update = _ours(Path(directory), variables)
        else:
            arguments = {"env": ENV_ID, "warm_up": 0, "updates": 1, **PEERS_OWN[side]}
            ended = bench.pythons.run(side, MODULES[side], arguments, **variables)
            began, first_update = ended.began, ended.result["first_update"]
        first_step = float(stamp.read_text())
    for end, when in zip(_ENDS, (first_step, first_update), strict=True):
        case = _case(start, end)
        key = {"part": "start_up", "case": case, "side": side, "alternation": alternation}
        bench.results.add(**key, value=when - began, unit="s")


def _case(start: str, end: str) -> str:
    return f"{start} start, to the first {end}"


def _ours(directory: Path, variables: dict[str, str]) -> tuple[float, float]:
    """When the command was given, and when its progress file had its first row."""
    settings = {**presets.preset("Walker2d").settings, "env": ENV_ID}
    began = time.monotonic()
    process = subprocess.Popen(
        our_command.command(directory, **settings),
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
    )
    while not our_command.progress(directory):
        time.sleep(_LOOK_EVERY)
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}.")
    first_update = time.monotonic()
    # The run ends itself, so that whatever it keeps for the next one is whole.
    process.send_signal(signal.SIGTERM)
    process.wait()
    return began, first_update
