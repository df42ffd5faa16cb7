"""Samplers: from vector environments and a policy to rollouts."""

from trpo_tf.samplers.acting import Inference, Snapshot, take_snapshot
from trpo_tf.samplers.asynchronous import AsyncSampler
from trpo_tf.samplers.background_sampler import BackgroundSampler
from trpo_tf.samplers.ray_sampler import RaySampler
from trpo_tf.samplers.rollout_worker import Recipe
from trpo_tf.samplers.synchronous import Sampler
from trpo_tf.samplers.vector_env import WorkersLost

__all__ = [
    "AsyncSampler",
    "BackgroundSampler",
    "Inference",
    "RaySampler",
    "Recipe",
    "Sampler",
    "Snapshot",
    "WorkersLost",
    "take_snapshot",
]
