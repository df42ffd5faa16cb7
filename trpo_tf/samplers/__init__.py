"""Samplers: from a vector environment and a policy to rollouts."""

from trpo_tf.samplers.acting import Inference, Snapshot, take_snapshot
from trpo_tf.samplers.synchronous import Sampler

__all__ = ["Inference", "Sampler", "Snapshot", "take_snapshot"]
