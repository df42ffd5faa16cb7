"""A node of a Ray cluster dies while its worker collects.

    python -m experiments.faults.lost_node 0.1

Prints what was found as one line of JSON; the argument says for how many seconds the node lives
once its worker has collected.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import sys
import time
from typing import Any

from ray.cluster_utils import Cluster

import trpo_tf
from experiments.campaign.process import ROOT
from experiments.faults import life_env, processes, workers
from experiments.faults.ledger import Ledger
from experiments.faults.outcome import Outcome
from experiments.faults.training import GRACE_SECONDS

# To import what is needed and to make the environments, and for Ray to find a node dead, on a busy
# machine.
_JOIN_SECONDS = 300.0
_LOSS_SECONDS = 120.0


def lose_a_node(delay: float, outcome: Outcome) -> None:
    """A node joins and dies after some seconds; collecting goes on with what is left."""
    os.environ["PYTHONPATH"] = str(ROOT)
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    make_env = functools.partial(life_env.make_life_envs, step_seconds=workers.STEP_SECONDS)
    recipe = trpo_tf.Recipe(make_env, workers.make_policy, 2, 20, execution=trpo_tf.Execution.EAGER)
    sampler = trpo_tf.RaySampler(
        workers.make_policy(), recipe, num_workers=1, max_workers=2, address=cluster.address
    )
    ledger = Ledger()
    with processes.marking() as mark, workers.warnings_of_samplers() as said:
        seen = _collect_and_lose(cluster, sampler, delay, ledger, outcome)
    outcome.message = " | ".join(said)
    is_told = len(said) == 1 and re.search(r"Ray worker \d \(.*, process \d+", said[0]) is not None
    outcome.require(is_told, "violations", f"said {said}")
    outcome.require(sampler.lost_rollouts == 1, "violations", f"{sampler.lost_rollouts} lost")
    outcome.require(ledger.lives == 4, "violations", f"{ledger.lives} lives")
    missing = sampler.env_steps - len(ledger.transitions)
    outcome.book("lost", f"{missing} transitions", max(0, missing))
    outcome.book("doubled", f"{-missing} transitions more than steps", max(0, -missing))
    left = processes.wait_for_none(
        lambda: processes.alive(seen) | processes.marked(mark), GRACE_SECONDS
    )
    outcome.book("orphans", f"{left}", len(left))


def _collect_and_lose(
    cluster: Cluster, sampler: Any, delay: float, ledger: Ledger, outcome: Outcome
) -> set[int]:
    """Returns the processes that have collected."""
    try:
        first = workers.processes_of(workers.book(sampler, ledger, outcome))
        node = cluster.add_node(num_cpus=1)
        seen = set(first)
        deadline = time.monotonic() + _JOIN_SECONDS
        while len(seen) < 2:
            _check_time(deadline, "no worker of the new node has collected")
            seen |= workers.processes_of(workers.book(sampler, ledger, outcome))
        time.sleep(delay)
        cluster.remove_node(node, allow_graceful=False)
        died = time.monotonic()
        deadline = died + _LOSS_SECONDS
        while sampler.lost_rollouts == 0:
            _check_time(deadline, "the loss of the node was not noticed")
            workers.book(sampler, ledger, outcome)
        outcome.note = f"known after {time.monotonic() - died:.1f} s"
        for _ in range(5):
            later = workers.processes_of(workers.book(sampler, ledger, outcome))
            outcome.require(later == first, "wrong", f"{later} collected, not {first}")
    finally:
        sampler.close()
        cluster.shutdown()
    return seen


def _check_time(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"{what} in time.")


if __name__ == "__main__":
    booked = Outcome()
    lose_a_node(float(sys.argv[1]), booked)
    print(json.dumps(dataclasses.asdict(booked)))
