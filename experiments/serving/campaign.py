"""50 roll-outs and roll-backs under constant load, and 10,000 fuzzed requests.

python -m experiments.serving.campaign --out=experiments/serving/campaign.json

The long form of tests/test_local_server.py and tests/test_rest_service.py, with their own parts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import serving_models
from fuzzed_requests import fuzzed_requests
from roll_outs import Load, roll_out_and_back

from trpo_tf.serving import model_config
from trpo_tf.serving.local_server import LocalServer
from trpo_tf.serving.served_version import Batching


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="experiments/serving/campaign.json")
    parser.add_argument("--roll_outs", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp())
    base = serving_models.export_versions(directory / "m", 2)
    found = {
        "labels, batching": roll_outs(directory, base, arguments.roll_outs, Batching(), False),
        "load and unload": roll_outs(directory, base, arguments.roll_outs, None, True),
        "fuzzed": fuzz(base, arguments.requests, arguments.seed),
    }
    Path(arguments.out).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def roll_outs(
    directory: Path, base: Path, times: int, batching: Batching | None, unload: bool
) -> dict[str, Any]:
    """Four clients, two by REST, two by gRPC; raises if a request is lost or answered wrongly."""
    path = directory / "models.config"

    def serve(version: int) -> None:
        versions = [version] if unload else [1, 2]
        config = serving_models.config_of(base, versions, stable=version)
        model_config.write_config(path, config)

    serve(1)
    server = LocalServer(
        lambda: model_config.read_config(path), batching=batching, poll_seconds=0.05
    )
    urls = [f"http://127.0.0.1:{server.rest_port}", f"grpc://127.0.0.1:{server.grpc_port}"]
    load = Load(urls * 2, "m")
    try:
        commanded = roll_out_and_back(load, times, lambda: serve(2), lambda: serve(1))
    finally:
        load.end()
        server.close()
    return {
        "roll_outs_and_roll_backs": 2 * times,
        "requests": sum(map(len, load.seen)),
        "lost": len(load.errors),
        "monotone": load.orders() == [commanded] * 4,
    }


def fuzz(base: Path, count: int, seed: int) -> dict[str, Any]:
    """Over the network; raises for an answer that is neither 200 nor 4xx."""
    config = serving_models.config_of(base, [1, 2], stable=1)
    server = LocalServer(lambda: config, batching=Batching(timeout_micros=0))
    pool = urllib3.PoolManager(retries=False, timeout=60.0)
    url = f"http://127.0.0.1:{server.rest_port}"
    statuses: Counter[int] = Counter()
    try:
        for request in fuzzed_requests(count, seed):
            answer = pool.request(request.method, url + request.path, body=request.body)
            assert answer.status == 200 or 400 <= answer.status < 500, (request, answer.data)
            assert answer.status == 200 or answer.json()["error"]
            statuses[answer.status] += 1
        good = pool.request(
            "POST", f"{url}/v1/models/m:predict", json={"instances": serving_models.ROWS.tolist()}
        )
        assert good.status == 200
    finally:
        server.close()
    return {"requests": count, "seed": seed, **{str(key): n for key, n in statuses.items()}}


if __name__ == "__main__":
    main()
