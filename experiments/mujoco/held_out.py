"""What the policy's step gains on rows that it has not seen, by the rows and the λ it was made of.

    python -m experiments.mujoco.held_out --logdir=runs/mujoco/Ant-0
    python -m experiments.mujoco.held_out --logdir=runs/mujoco/Ant-0 --gae_lambdas=0.8,0.95

Collects rollouts by a run's policy, which stays as it is, makes steps of some of them, and measures
each step on all others: to first order, the held-out gain of the surrogate is the step times their
mean gradient. A gain is in standard deviations of the advantage, and is measured twice: with the
advantages of the run's own λ, and with those of λ = 1, where what a small λ takes from an imperfect
critic is a loss. Adds rows to `held_out.csv`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

import trpo_tf
from experiments.campaign.grid import append
from experiments.campaign.revision import code_revision
from trpo_tf import Batch, Run, flat, functional
from trpo_tf.batch_passes import BatchPasses
from trpo_tf.types import Rollout

_LOGDIR = flags.DEFINE_string("logdir", None, "The run directory.", required=True)
_ROLLOUTS = flags.DEFINE_integer("rollouts", 200, "As long as the run's own.")
_SIZES = flags.DEFINE_list("sizes", ["1", "4", "16"], "Rollouts that a step is made of.")
_LAMBDAS = flags.DEFINE_list("gae_lambdas", None, "λ of the steps; the run's own if not given.")
_STEPS = flags.DEFINE_integer("steps", 100, "Steps of each size, if there are as many.")
_MAX_KL = flags.DEFINE_float("max_kl", 0.01, "Mean KL of a step.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where results go.")

# Rollouts before and after those of a step that are left out: they share episodes with it.
_NEIGHBOURS = 4


def main(_: list[str]) -> None:
    run = trpo_tf.load_run(_LOGDIR.value)
    own_lambda = run.config.gae_lambda
    collected = list(_collect(run, _ROLLOUTS.value))
    gradients = np.stack(
        [
            [_gradient(run, batch) for batch in _batches(run, collected, judged_by)]
            for judged_by in (own_lambda, 1.0)
        ]
    )
    lambdas = [own_lambda] if _LAMBDAS.value is None else [float(text) for text in _LAMBDAS.value]
    for size, gae_lambda in itertools.product(map(int, _SIZES.value), lambdas):
        batches = list(_batches(run, collected, gae_lambda))
        own, *held_out = np.array(list(_gains(run, batches, gradients, size))).T
        means = [float(gains.mean()) for gains in held_out]
        errors = [float(gains.std(ddof=1) / np.sqrt(len(gains))) for gains in held_out]
        row = {
            "task": run.config.env,
            "seed": run.config.seed,
            "env_steps": run.state["env_steps"],
            "parameters": gradients.shape[-1],
            "rows": size * run.config.num_envs * run.config.num_steps,
            "steps": len(own),
            "own_gain": float(own.mean()),
            "held_out_gain": means[0],
            "held_out_error": errors[0],
            "gae_lambda": gae_lambda,
            "held_out_gain_1": means[1],
            "held_out_error_1": errors[1],
            "revision": code_revision(),
        }
        append(Path(_DIRECTORY.value) / "held_out.csv", [row])
        print(row, flush=True)


def _collect(run: Run, number: int) -> Iterator[tuple[Rollout, Any]]:
    """Rollouts one after the other, with the critic's values."""
    config = run.config
    env = trpo_tf.make_vector_env(config.env, config.num_envs, "sync", config.env_kwargs)
    sampler = trpo_tf.Sampler(env, run.policy, config.num_steps, seed=config.seed)
    for _ in range(number):
        rollout = tf.nest.map_structure(tf.convert_to_tensor, sampler.collect()[0])
        yield rollout, trpo_tf.critic_values(run.value_function, rollout)
    sampler.close()


def _batches(
    run: Run, collected: Sequence[tuple[Rollout, Any]], gae_lambda: float
) -> Iterator[Batch]:
    """Rows with advantages as the run takes them, on policy, but by a λ of one's choice."""
    own = run.trpo.advantage
    advantage = trpo_tf.Advantage(own.discount, gae_lambda, return_scaling=own.return_scaling)
    for rollout, values in collected:
        estimate = advantage(rollout, values)
        weights = tf.ones_like(estimate.advantages)
        yield trpo_tf.make_batch(rollout, estimate, importance_weights=weights)


def _gradient(run: Run, batch: Batch) -> np.ndarray:
    """The surrogate's gradient [P]."""
    state = functional.state(run.policy)
    passes = BatchPasses(
        lambda values, observations: functional.apply(run.policy, values, observations, state),
        batch,
        chunk_rows=None,
    )
    scale = passes.set_coefficients(batch.advantages)
    return (scale * passes.gradient(functional.parameters(run.policy))).numpy()


def _gains(
    run: Run, batches: Sequence[Batch], gradients: np.ndarray, size: int
) -> Iterator[tuple[float, ...]]:
    """Of steps whose rollouts are spread over all: on their own rows, and on others by each λ."""
    optimizer = run.trpo.optimizer
    propose = trpo_tf.Execution.XLA.compile(
        lambda batch: optimizer.propose(run.policy, batch, tf.constant(_MAX_KL.value))
    )
    start = flat.flatten(functional.parameters(run.policy))
    last = len(batches) - size
    for first in range(0, last + 1, max(size, last // _STEPS.value)):
        parts = zip(*batches[first : first + size], strict=True)
        new, info = propose(Batch(*(tf.concat(part, 0) for part in parts)))
        is_other = np.ones(len(batches), bool)
        is_other[max(0, first - _NEIGHBOURS) : first + size + _NEIGHBOURS] = False
        step = (flat.flatten(new) - start).numpy()
        yield (
            float(info.surrogate_after - info.surrogate_before),
            *(gradients[:, is_other].mean(axis=1) @ step),
        )


if __name__ == "__main__":
    app.run(main)
