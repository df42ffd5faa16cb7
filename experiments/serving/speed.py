"""How fast exported policies answer: in the process, and through the development server.

python -m experiments.serving.speed --out=experiments/serving/speed.csv

One run gives all ratios. In the process, alternating: the SavedModel's signature, the same policy
called eagerly with the same action map, and `predict` of a plain Keras net of the same layers.
Through the server: 64 connections beside one, and the same web library echoing the same payload.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CONNECTIONS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="experiments/serving/speed.csv")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each kind in the process")
    parser.add_argument("--requests", type=int, default=20000, help="requests of each kind")
    parser.add_argument("--repeats", type=int, default=3, help="times that all is done")
    arguments = parser.parse_args()
    rows = []
    for repeat in range(arguments.repeats):
        for row in [*in_process(arguments.calls), *through_the_server(arguments.requests)]:
            rows.append({"repeat": repeat, **row})
            print(rows[-1], flush=True)
    with open(arguments.out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for line in ratios(rows):
        print(line)


def row(kind: str, rows_a_call: int, seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "kind": kind,
        "rows": rows_a_call,
        "p50_us": round(ordered[len(ordered) // 2] * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
        "rows_a_second": round(rows_a_call * len(ordered) / sum(ordered)),
    }


def in_process(calls: int) -> list[dict[str, Any]]:
    """A new policy of the usual size, exported and loaded again."""
    import tempfile

    import gymnasium as gym
    import keras
    import numpy as np
    import tensorflow as tf

    import trpo_tf
    from trpo_tf import draws
    from trpo_tf.action_map import to_env_actions

    space, actions = gym.spaces.Box(-np.inf, np.inf, (17,)), gym.spaces.Box(-1, 1, (6,))
    policy = trpo_tf.make_policy(space, actions, hidden_sizes=(64, 64))
    path = trpo_tf.export_policy(policy, tempfile.mkdtemp())
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    net = keras.Sequential(
        [
            keras.Input([17]),
            keras.layers.Dense(64, "tanh"),
            keras.layers.Dense(64, "tanh"),
            keras.layers.Dense(6),
        ]
    )

    def by_signature(observations: Any) -> Any:
        return signature(observations=observations)["actions"].numpy()

    def eagerly(observations: Any) -> Any:
        drawn = draws.deterministic_action(policy(observations))
        return to_env_actions(actions, drawn, False).numpy()

    found = []
    for size in (1, 256):
        batch = tf.random.stateless_normal([size, 17], [1, 2])
        kinds: dict[str, Callable[[], Any]] = {
            "signature": functools.partial(by_signature, batch),
            "eager policy": functools.partial(eagerly, batch),
            "keras predict": functools.partial(net.predict, batch, verbose=0),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for call in kinds.values():
            call()
        for index in range(calls):
            for kind, call in kinds.items():
                # `predict` takes so long that a tenth of the calls says enough.
                if kind == "keras predict" and index % 10:
                    continue
                began = time.perf_counter()
                call()
                times[kind].append(time.perf_counter() - began)
        found += [row(kind, size, seconds) for kind, seconds in times.items()]
    return found


def through_the_server(requests: int) -> list[dict[str, Any]]:
    """Requests of one row; the clients are a process of their own, this one."""
    body = b'{"instances": [[1.25' + b", 0.5" * 16 + b"]]}"
    found = []
    server = [
        "trpo_tf.serving.dev_server",
        f"--saved_model={REPOSITORY / 'saved_models' / 'Walker2d'}",
        "--rest_api_port=0",
        "--port=0",
    ]
    programs = {
        "server, batching": [*server, "--enable_batching"],
        "server, alone": server,
        "echo": ["experiments.serving.echo"],
    }
    for kind, program in programs.items():
        process = subprocess.Popen(
            [sys.executable, "-m", *program],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("REST: "))
            port = int(line.rsplit(":", 1)[1])
            for connections, count in ((1, requests // 10), (CONNECTIONS, requests)):
                asyncio.run(load(port, body, connections, count // 10))
                began = time.perf_counter()
                seconds = asyncio.run(load(port, body, connections, count))
                wall = time.perf_counter() - began
                measured = row(f"{kind}, {connections} at once", 1, seconds)
                found.append({**measured, "rows_a_second": round(len(seconds) / wall)})
        finally:
            process.terminate()
            process.wait()
    return found


async def load(port: int, body: bytes, connections: int, count: int) -> list[float]:
    """Sends the same request over kept connections; gives each request's seconds."""
    request = (
        b"POST /v1/models/Walker2d:predict HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
    seconds: list[float] = []
    remaining = count

    async def one() -> None:
        nonlocal remaining
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while remaining > 0:
            remaining -= 1
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            lower = head.lower()
            length = lower.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            seconds.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*[one() for _ in range(connections)])
    return seconds


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """What the issue asks for: medians over the repeats, of ratios within one repeat."""
    import statistics

    def ratio(above: tuple[str, int], below: tuple[str, int]) -> float:
        values = []
        for repeat in {entry["repeat"] for entry in rows}:
            speed = {
                (entry["kind"], entry["rows"]): entry["rows_a_second"]
                for entry in rows
                if entry["repeat"] == repeat
            }
            values.append(speed[above] / speed[below])
        return statistics.median(values)

    lines = []
    for size in (1, 256):
        for kind, target in (("eager policy", 1.0), ("keras predict", 5.0)):
            value = ratio(("signature", size), (kind, size))
            lines.append(f"signature / {kind}, {size} rows: {value:.2f} (at least {target})")
    many = (f"server, batching, {CONNECTIONS} at once", 1)
    one = ratio(many, ("server, batching, 1 at once", 1))
    echo = ratio(many, (f"echo, {CONNECTIONS} at once", 1))
    lines.append(f"batching, {CONNECTIONS} at once / one at a time: {one:.2f} (at least 2)")
    lines.append(f"batching / echo, {CONNECTIONS} at once: {echo:.2f} (at least 0.7)")
    return lines


if __name__ == "__main__":
    main()
