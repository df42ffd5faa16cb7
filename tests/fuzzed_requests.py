"""Random predict requests, most of them bad, for a model of `serving_models`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_LEAVES: list[Any] = [
    0, 1, -1, 0.5, 1e308, 2**31, 2**80, True, None, "", "1", "observations", float("nan"), [], {},
]  # fmt: skip
_KEYS = ["instances", "inputs", "signature_name", "observations", "seeds", "x", ""]
_SIGNATURES = ["serving_default", "sample", "distribution", "value", "", 3, None]
_PATHS = [
    "/v1/models/m:predict",
    "/v1/models/m/labels/stable:predict",
    "/v1/models/m/versions/1:predict",
    "/v1/models/m/versions/99:predict",
    "/v1/models/m/versions/99999999999999999999999:predict",
    "/v1/models/m/labels/nope:predict",
    "/v1/models/other:predict",
    "/v1/models/m:classify",
    "/v1/models/m",
    "/v1/models/",
    "/",
    "/v1/models/m/labels/../versions/1:predict",
]


class FuzzedRequest(NamedTuple):
    """One request; its answer must be 200 or 4xx."""

    method: str
    path: str
    body: bytes


def fuzzed_requests(count: int, seed: int) -> Iterator[FuzzedRequest]:
    """The same seed gives the same requests."""
    chance = random.Random(seed)
    makers: list[Callable[[random.Random], bytes]] = [_noise, _cut, _tree, _near, _near, _near]
    for _ in range(count):
        method = "POST" if chance.random() < 0.95 else "GET"
        path = _PATHS[0] if chance.random() < 0.7 else chance.choice(_PATHS)
        yield FuzzedRequest(method, path, chance.choice(makers)(chance))


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(200))


def _cut(chance: random.Random) -> bytes:
    whole = _near(chance)
    place = chance.randrange(len(whole) + 1)
    return whole[:place] + chance.randbytes(chance.randrange(3)) + whole[place + 1 :]


def _tree(chance: random.Random) -> bytes:
    return json.dumps(_value(chance, 4)).encode()


def _value(chance: random.Random, depth: int) -> Any:
    if depth == 0 or chance.random() < 0.3:
        return chance.choice(_LEAVES)
    size = chance.randrange(4)
    if chance.random() < 0.5:
        return [_value(chance, depth - 1) for _ in range(size)]
    return {chance.choice(_KEYS): _value(chance, depth - 1) for _ in range(size)}


def _near(chance: random.Random) -> bytes:
    """Almost a good request: often one thing is wrong."""
    rows, width = chance.randrange(4), chance.choice([3, 3, 3, 2, 0])
    observations: Any = [[chance.uniform(-2, 2) for _ in range(width)] for _ in range(rows)]
    if observations and chance.random() < 0.2:
        observations[chance.randrange(rows)] = chance.choice(_LEAVES)
    request: dict[str, Any] = {"signature_name": chance.choice(_SIGNATURES)}
    if chance.random() < 0.3:
        del request["signature_name"]
    if chance.random() < 0.5:
        request["instances"] = observations
    else:
        seeds = [[chance.randrange(-(2**31), 2**31) for _ in range(2)] for _ in range(rows)]
        request["inputs"] = {"observations": observations, "seeds": seeds}
        if chance.random() < 0.5:
            del request["inputs"]["seeds"]
    return json.dumps(request).encode()
