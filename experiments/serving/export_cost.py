"""How long an export takes and how large it is, with and without its proof.

python -m experiments.serving.export_cost --out=experiments/serving/export_cost.csv
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import trpo_tf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="experiments/serving/export_cost.csv")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    space = gym.spaces.Box(-np.inf, np.inf, (17,), np.float64)
    policy = trpo_tf.make_policy(space, gym.spaces.Box(-1, 1, (6,)), hidden_sizes=(64, 64))
    value_function = trpo_tf.make_value_function(space)
    rows = []
    for _ in range(arguments.repeats):
        for verify in (True, False):
            began = time.perf_counter()
            path = trpo_tf.export_policy(
                policy, tempfile.mkdtemp(), value_function=value_function, verify=verify
            )
            seconds = time.perf_counter() - began
            rows.append({"verify": verify, "seconds": round(seconds, 2), "bytes": size_of(path)})
            print(rows[-1], flush=True)
    with open(arguments.out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
