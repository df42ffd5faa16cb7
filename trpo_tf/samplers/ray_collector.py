"""Collects in an actor of a Ray cluster, which is replaced when it dies."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from trpo_tf.samplers import vector_env
from trpo_tf.samplers.acting import Snapshot
from trpo_tf.samplers.collectors import CollectorLost, Part
from trpo_tf.samplers.ray_cluster import import_ray
from trpo_tf.samplers.rollout_worker import Recipe, RolloutWorker


class SnapshotStore:
    """Puts each snapshot into the cluster's object store once, for all workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._reference: Any = None

    def put(self, snapshot: Snapshot) -> Any:
        """The reference of a snapshot, which goes over the network once a node."""
        with self._lock:
            if snapshot is not self._snapshot:
                self._reference = import_ray().put(snapshot)
                self._snapshot = snapshot
            return self._reference


class RayCollector:
    """A `RolloutWorker` in an actor; a `Collector`.

    Args:
        recipe: of the worker.
        index: its place among the workers.
        store: shared by all of them.
        worker_cpus: of the cluster's CPUs that it takes.
    """

    def __init__(
        self, recipe: Recipe, index: int, store: SnapshotStore, worker_cpus: float
    ) -> None:
        first_env = index * recipe.num_envs
        self.name = (
            f"Ray worker {index} ({recipe.num_envs} environments from number {first_env}, "
            f"seed {recipe.seed})"
        )
        self._recipe = recipe
        self._index = index
        self._store = store
        self._worker_cpus = worker_cpus
        self._state: Mapping[str, int] | None = None
        self._life = -1
        self._actor: Any = None
        self._steps_made = 0
        self._asked: Any = None
        self._is_stopped = False

    @property
    def steps_made(self) -> int:
        """What the worker last said; asking again goes on meanwhile."""
        ray, actor, asked = import_ray(), self._actor, self._asked
        if actor is None:
            return self._steps_made
        try:
            if asked is None:
                self._asked = actor.steps_made.remote()
            elif ray.wait([asked], timeout=0)[0]:
                self._asked = None
                self._steps_made = ray.get(asked)
        except ray.exceptions.RayError:
            self._asked = None
        return self._steps_made

    def prepare(self) -> None:
        """Waits for room in the cluster and starts a worker there."""
        if self._actor is not None:
            return
        self._life += 1
        # A restarted actor would know nothing of the rollouts before; a new one is told.
        actor_class = import_ray().remote(RolloutWorker)
        actor = actor_class.options(
            num_cpus=self._worker_cpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        ).remote(self._recipe, self._index)
        self._asked = None
        self._actor = actor
        if self._is_stopped:
            self.kill()
        place = self._answer(actor.start.remote(self._state, self._life))
        self.name = f"Ray worker {self._index} ({place})"

    def collect(self, snapshot: Snapshot) -> Part:
        """Has the worker collect one rollout with this policy."""
        part: Part = self._answer(self._actor.collect.remote(self._store.put(snapshot)))
        self._state = part.state
        return part

    def restore(self, state: Mapping[str, int]) -> None:
        """Goes on after the rollout whose `state` this is."""
        self._state = dict(state)

    def kill(self) -> bool:
        """Ends the worker's process."""
        actor = self._actor
        if actor is not None:
            import_ray().kill(actor)
        return True

    def stop(self) -> None:
        """Ends the worker's process, and any that would follow it."""
        self._is_stopped = True
        self.kill()

    def close(self) -> None:
        """Does nothing more: the worker's environments ended with it."""

    def _answer(self, reference: Any) -> Any:
        ray = import_ray()
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            # What the worker raised, as an instance of its own class, with its own traceback.
            if not isinstance(error.cause, vector_env.WorkersLost):
                raise
            reason = str(error.cause)
            lost = error
        except ray.exceptions.RayError as error:
            # The rest is a page of what may have been the cause.
            reason = str(error).strip().splitlines()[0].rstrip(".")
            reason += "; Ray does not tell by which signal or exit code"
            lost = error
        self.kill()
        self._actor = None
        raise CollectorLost(f"{self.name} is gone: {reason.rstrip('.')}.") from lost
