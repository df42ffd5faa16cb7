"""What the policy's step gains on rows that it has not seen, by the number of rows it was made of.

    python -m experiments.mujoco.held_out --logdir=runs/mujoco/Ant-0

Collects rollouts by a run's policy, which stays as it is, makes steps of some of them, and measures
each step on all others: to first order, the held-out gain of the surrogate is the step times their
mean gradient. A gain is in standard deviations of the advantage. Adds rows to `held_out.csv`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import app, flags

import trpo_tf
from experiments.campaign.grid import append
from experiments.campaign.revision import code_revision
from trpo_tf import Batch, Run, functional

_LOGDIR = flags.DEFINE_string("logdir", None, "The run directory.", required=True)
_ROLLOUTS = flags.DEFINE_integer("rollouts", 200, "As long as the run's own.")
_SIZES = flags.DEFINE_list("sizes", ["1", "4", "16"], "Rollouts that a step is made of.")
_STEPS = flags.DEFINE_integer("steps", 100, "Steps of each size, if there are as many.")
_MAX_KL = flags.DEFINE_float("max_kl", 0.01, "Mean KL of a step.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")

# Rollouts before and after those of a step that are left out: they share episodes with it.
_NEIGHBOURS = 4


class Gain(NamedTuple):
    """What one step gained, on its own rows and on others."""

    own: float
    held_out: float


def main(_: list[str]) -> None:
    run = trpo_tf.load_run(_LOGDIR.value)
    batches = list(_batches(run, _ROLLOUTS.value))
    gradients = np.stack([_gradient(run, batch) for batch in batches])
    for size in map(int, _SIZES.value):
        gains = np.array(list(_gains(run, batches, gradients, size)))
        row = {
            "task": run.record.config.env,
            "seed": run.config.seed,
            "env_steps": run.state["env_steps"],
            "parameters": gradients.shape[1],
            "rows": size * run.config.num_envs * run.config.num_steps,
            "steps": len(gains),
            "own_gain": gains[:, 0].mean(),
            "held_out_gain": gains[:, 1].mean(),
            "held_out_error": gains[:, 1].std(ddof=1) / np.sqrt(len(gains)),
            "revision": code_revision(),
        }
        append(Path(_DIRECTORY.value) / "held_out.csv", [row])
        print(row, flush=True)


def _batches(run: Run, number: int) -> Iterator[Batch]:
    """Rollouts one after the other, with advantages as the run takes them, on policy."""
    config = run.config
    env = trpo_tf.make_vector_env(config.env, config.num_envs, "sync", config.env_kwargs)
    sampler = trpo_tf.Sampler(env, run.policy, config.num_steps, seed=config.seed)
    advantage = trpo_tf.Advantage(config.discount, config.gae_lambda)
    for _ in range(number):
        rollout = tf.nest.map_structure(tf.convert_to_tensor, sampler.collect()[0])
        estimate = advantage(rollout, trpo_tf.critic_values(run.value_function, rollout))
        weights = tf.ones_like(estimate.advantages)
        yield trpo_tf.make_batch(rollout, estimate, importance_weights=weights)
    sampler.close()


def _gradient(run: Run, batch: Batch) -> np.ndarray:
    """The surrogate's gradient, flat."""
    start, state = functional.parameters(run.policy), functional.state(run.policy)
    with tf.GradientTape() as tape:
        tape.watch(start)
        distribution = functional.apply(run.policy, start, batch.observations, state)
        log_probs = distribution.log_prob(batch.actions)
        total = tf.reduce_sum(batch.weights * batch.advantages * log_probs)
        surrogate = total / tf.reduce_sum(batch.weights)
    return _flat(tape.gradient(surrogate, start))


def _gains(run: Run, batches: Sequence[Batch], gradients: np.ndarray, size: int) -> Iterator[Gain]:
    """Of steps whose rollouts are spread over all."""
    optimizer = run.trpo.optimizer
    propose = tf.function(
        lambda batch: optimizer.propose(run.policy, batch, tf.constant(_MAX_KL.value)),
        jit_compile=True,
    )
    start = _flat(functional.parameters(run.policy))
    last = len(batches) - size
    for first in range(0, last + 1, max(size, last // _STEPS.value)):
        parts = zip(*batches[first : first + size], strict=True)
        new, info = propose(Batch(*(tf.concat(part, 0) for part in parts)))
        is_other = np.ones(len(batches), bool)
        is_other[max(0, first - _NEIGHBOURS) : first + size + _NEIGHBOURS] = False
        yield Gain(
            float(info.surrogate_after - info.surrogate_before),
            float((_flat(new) - start) @ gradients[is_other].mean(axis=0)),
        )


def _flat(tensors: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.ravel(tensor) for tensor in tensors]).astype(np.float64)


if __name__ == "__main__":
    app.run(main)
