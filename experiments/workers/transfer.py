"""What it costs to send weights out and to bring a rollout back, against their size.

    python -m experiments.workers.transfer

Each number is a median of many, in milliseconds, through the object store of this machine: `put`
is the learner's share of a broadcast, `get` a worker's, `gather` what the learner needs to take one
part of that size that is finished, and `merge` what it needs to put sixteen of them side by side.
"""

from __future__ import annotations

import csv
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from absl import app, flags

from trpo_tf.samplers import ray_cluster
from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.background_sampler import merge
from trpo_tf.samplers.collectors import Part
from trpo_tf.types import EpisodeStats, Rollout

_REPEATS = flags.DEFINE_integer("repeats", 50, "Measurements of each size.")
_HERE = Path(__file__).parent
# Parameters of networks (64×64 and 256×256 on Walker2d, small and large convolutional ones).
_PARAMETERS = (6_000, 73_000, 500_000, 5_000_000)
# Rows of a part, and numbers of an observation.
_PARTS = ((64, 17), (1024, 17), (1024, 376), (512, 28_224))


class Echo:
    """Stands for a worker."""

    def take(self, snapshot: Snapshot) -> float:
        """Touches every weight; returns nothing that costs."""
        return float(sum(weights.ravel()[0] for weights in snapshot.parameters))

    def give(self, rows: int, size: int) -> Part:
        """A part of that size."""
        return make_part(rows, size)


def make_part(rows: int, size: int) -> Part:
    """A part of one environment; observations of more than 1,000 numbers are bytes of images."""
    dtype = np.uint8 if size > 1000 else np.float32
    number, flag = np.zeros([rows, 1], np.float32), np.zeros([rows, 1], bool)
    rollout = Rollout(
        observations=np.zeros([rows + 1, 1, size], dtype),
        actions=np.zeros([rows, 1, 6], np.float32),
        behaviour_log_probs=number,
        rewards=number,
        terminated=flag,
        truncated=flag,
        mask=~flag,
        policy_version=np.zeros([rows, 1], np.int64),
    )
    return Part(rollout, EpisodeStats(np.zeros(0), np.zeros(0, np.int64)), {}, rows)


def median_ms(action: Callable[[], Any]) -> float:
    """Of `--repeats` calls, after two that do not count."""
    seconds = []
    for _ in range(_REPEATS.value + 2):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(seconds[2:]), 3)


def send(worker: Any, snapshot: Snapshot) -> None:
    """Weights by the object store to a worker that has read them."""
    ray.get(worker.take.remote(ray.put(snapshot)))


def gather_ms(worker: Any, rows: int, size: int) -> float:
    """The learner's time to take a part that is finished."""
    seconds = []
    for _ in range(_REPEATS.value + 2):
        reference = worker.give.remote(rows, size)
        ray.wait([reference], fetch_local=False)
        start = time.perf_counter()
        ray.get(reference)
        seconds.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(seconds[2:]), 3)


def main(_: list[str]) -> None:
    leave = ray_cluster.connect(None)
    worker: Any = ray.remote(Echo).remote()
    rows = []
    for count in _PARAMETERS:
        snapshot = Snapshot([np.zeros(count, np.float32)], [], 0)
        put = median_ms(functools.partial(ray.put, snapshot))
        call = median_ms(lambda: ray.get(worker.take.remote(Snapshot([np.zeros(1)], [], 0))))
        with_weights = median_ms(functools.partial(send, worker, snapshot))
        rows.append(
            {
                "what": f"weights, {count} parameters",
                "mib": round(count * 4 / 2**20, 3),
                "put_ms": put,
                "get_ms": round(max(0.0, with_weights - put - call), 3),
            }
        )
        print(rows[-1], flush=True)
    for steps, size in _PARTS:
        parts = [make_part(steps, size)] * 16
        total = sum(np.asarray(array).nbytes for array in parts[0].rollout)
        rows.append(
            {
                "what": f"rollout, {steps} rows of {size}",
                "mib": round(total / 2**20, 3),
                "gather_ms": gather_ms(worker, steps, size),
                "merge_ms": median_ms(functools.partial(merge, parts)),
            }
        )
        print(rows[-1], flush=True)
    with (_HERE / "transfer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["what", "mib", "put_ms", "get_ms", "gather_ms", "merge_ms"])
        writer.writeheader()
        writer.writerows(rows)
    leave()


if __name__ == "__main__":
    app.run(main)
