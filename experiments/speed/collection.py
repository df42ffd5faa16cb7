"""Part "collection": how much of the environments' raw stepping speed is kept, without updates."""

from __future__ import annotations

from typing import Any

from experiments.speed.bench import Bench
from experiments.speed.sides import OURS, SB3
from experiments.speed.trained_run import make_run

_NUM_ENVS = (8, 16)
_ROWS = 2048
_ROLLOUTS = 12


def collection(bench: Bench) -> None:
    """Steps a second under the sampler, and those of the raw stepping between its rollouts."""
    make_run(bench.run)
    for alternation in range(bench.alternations):
        for num_envs in _NUM_ENVS:
            size = {"num_envs": num_envs, "num_steps": _ROWS // num_envs, "rollouts": _ROLLOUTS}
            case = f"{num_envs} environments"
            if not bench.is_done("collection", case, (OURS, SB3), alternation):
                ours = {**size, "run": bench.run}
                _measure(bench, case, alternation, OURS, "collect_ours", ours)
                _measure(bench, case, alternation, SB3, "collect_sb3", size)


def _measure(
    bench: Bench, case: str, alternation: int, side: str, module: str, arguments: Any
) -> None:
    result = bench.pythons.run(side, module, arguments).result
    key = {"part": "collection", "case": case, "alternation": alternation}
    bench.add_speed({**key, "side": f"raw beside {side}"}, result, "raw_")
    bench.add_speed({**key, "side": side}, result)
