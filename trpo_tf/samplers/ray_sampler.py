"""The distributed sampler: workers of a Ray cluster collect beside the learner."""

from __future__ import annotations

import time

import keras

from trpo_tf.samplers import ray_cluster
from trpo_tf.samplers.background_sampler import BackgroundSampler
from trpo_tf.samplers.ray_collector import RayCollector, SnapshotStore
from trpo_tf.samplers.rollout_worker import Recipe

_GROWTH_SECONDS = 5.0
_START = {"next_step": 0, "env_steps": 0}


class RaySampler(BackgroundSampler):
    """Collects with workers in other processes or on other machines while the learner updates.

    Each `collect` puts the policy as it is into the cluster's object store, once for all workers,
    and returns a rollout of `num_workers` parts, taken as they are finished and put side by side:
    [T, num_workers · num_envs]. With `rollouts_ahead` 0 the learner waits while its own policy
    collects, one part a worker, and all bits are those of one synchronous sampler with all
    environments.

    A worker that dies or hangs is replaced, wherever there is room, and goes on after its last
    finished rollout with a reset; the unfinished one is counted in `lost_rollouts` and was never
    seen. Three deaths in a row without a rollout end the training.

    Args:
        policy: the learner's.
        recipe: what a worker is made of.
        num_workers: ≥ 1.
        rollouts_ahead: ≥ 0.
        timeout: seconds without a step of its environments after which a worker is replaced, > 0.
        max_lag: parts whose policy is more updates old are dropped, counted in `dropped_rollouts`,
            and collected anew; None: none are.
        address: of a cluster's head, `host:port` or "auto"; None: this machine alone.
        worker_cpus: of the cluster's CPUs that each worker takes, > 0.
        max_workers: ≥ num_workers; as many workers collect as the cluster has CPUs for, up to this
            number, as it grows; None: `num_workers`. A rollout has num_workers parts all the same.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: no cluster answers at the address.
        ValueError: for an argument out of range, or a cluster with too few CPUs.
    """

    def __init__(
        self,
        policy: keras.Model,
        recipe: Recipe,
        num_workers: int = 2,
        rollouts_ahead: int = 1,
        timeout: float = 300.0,
        max_lag: int | None = None,
        address: str | None = None,
        worker_cpus: float = 1.0,
        max_workers: int | None = None,
    ) -> None:
        most = num_workers if max_workers is None else max_workers
        _check_workers(num_workers, worker_cpus, most)
        store, growth = SnapshotStore(), _Growth(most, worker_cpus)

        def collectors(first: int, end: int) -> list[RayCollector]:
            return [RayCollector(recipe, index, store, worker_cpus) for index in range(first, end)]

        disconnect = ray_cluster.connect(address)
        try:
            ray_cluster.check_room(num_workers, worker_cpus)
            super().__init__(
                policy,
                collectors(0, num_workers),
                _START,
                rollouts_ahead,
                timeout,
                max_lag,
                recruit=lambda count: collectors(count, growth.wanted(count)),
                release=disconnect,
            )
        except BaseException:
            disconnect()
            raise


class _Growth:
    """How many workers there should be, as the cluster grows."""

    def __init__(self, max_workers: int, worker_cpus: float) -> None:
        self._max_workers = max_workers
        self._worker_cpus = worker_cpus
        self._asked_at = -_GROWTH_SECONDS

    def wanted(self, count: int) -> int:
        """At least `count`."""
        if count >= self._max_workers or time.monotonic() - self._asked_at < _GROWTH_SECONDS:
            return count
        self._asked_at = time.monotonic()
        room = int(ray_cluster.total_cpus() / self._worker_cpus)
        return max(count, min(room, self._max_workers))


def _check_workers(num_workers: int, worker_cpus: float, max_workers: int) -> None:
    if num_workers < 1:
        raise ValueError(f"num_workers must be >= 1, got {num_workers}. One a CPU is typical.")
    if not worker_cpus > 0:
        raise ValueError(f"worker_cpus must be > 0, got {worker_cpus}. 1 is typical.")
    if max_workers < num_workers:
        raise ValueError(
            f"max_workers must be >= num_workers ({num_workers}) or None, got {max_workers}."
        )
