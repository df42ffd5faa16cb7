"""A sampler made from a recipe, where it collects: in another process or on another machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.samplers.acting import Inference, Snapshot
from trpo_tf.samplers.collectors import MakeEnv, Part, collect_part, describe, life_seed
from trpo_tf.samplers.synchronous import Sampler

MakePolicy = Callable[[], keras.Model]
"""Makes a policy of the learner's kind; its weights do not matter."""


class Recipe(NamedTuple):
    """All that a worker's sampler is made of; travels by cloudpickle.

    Attributes:
        make_env: see `MakeEnv`.
        make_policy: see `MakePolicy`.
        num_envs: of each worker.
        num_steps: T.
        seed: of the run.
        inference, execution, timeout: as for `Sampler`.
        intra_op_threads: of TensorFlow, 0: its own choice. The learner's, where bits must agree.
    """

    make_env: MakeEnv
    make_policy: MakePolicy
    num_envs: int
    num_steps: int
    seed: int = 0
    inference: Inference | str = Inference.AUTO
    execution: Execution = Execution.XLA
    intra_op_threads: int = 0
    timeout: float | None = None


class RolloutWorker:
    """Makes environments and policy, and collects with snapshots that are sent to it.

    Args:
        recipe: of the sampler.
        index: of this worker; its environments are those from index · num_envs on.
    """

    def __init__(self, recipe: Recipe, index: int) -> None:
        self._recipe = recipe
        self._first_env = index * recipe.num_envs
        self._sampler: Sampler | None = None
        self._steps_made = 0

    def start(self, state: Mapping[str, int] | None, life: int) -> str:
        """Makes everything.

        Args:
            state: of the rollout after which it goes on; None: from the start.
            life: how many workers had this place before.

        Returns:
            What is where, in a few words, for errors.

        Raises:
            ValueError: the environments are another number than the recipe's.
            Exception: whatever making environments and policy raises.
        """
        recipe = self._recipe
        if recipe.intra_op_threads:
            tf.config.threading.set_intra_op_parallelism_threads(recipe.intra_op_threads)
        next_step = 0 if state is None else state["next_step"]
        seed = life_seed(recipe.seed, self._first_env, life, next_step)
        env = recipe.make_env(recipe.num_envs, seed)
        if env.num_envs != recipe.num_envs:
            raise ValueError(
                f"make_env must make {recipe.num_envs} environments for a worker, got "
                f"{env.num_envs}; its first argument is their number."
            )
        sampler = Sampler(
            env,
            recipe.make_policy(),
            recipe.num_steps,
            seed=recipe.seed,
            first_env=self._first_env,
            inference=recipe.inference,
            execution=recipe.execution,
            timeout=recipe.timeout,
        )
        if state is not None:
            sampler.restore(state)
        sampler.on_step = self._count_step
        self._sampler = sampler
        return f"{describe(sampler)}, process {os.getpid()} on {platform.node()}"

    def steps_made(self) -> int:
        """Steps of the environments so far; may be asked while `collect` runs."""
        return self._steps_made

    def collect(self, snapshot: Snapshot) -> Part:
        """Collects one rollout with this policy.

        Raises:
            ValueError: the snapshot is of another kind of policy than `make_policy` makes.
        """
        assert self._sampler is not None
        own = self._sampler.policy
        shapes = [tuple(value.shape) for value in (*snapshot.parameters, *snapshot.state)]
        expected = [
            tuple(variable.shape)
            for variable in (*own.trainable_variables, *own.non_trainable_variables)
        ]
        if shapes != expected:
            raise ValueError(
                f"make_policy makes a policy whose variables have the shapes {expected}, but the "
                f"learner's have {shapes}; make both in the same way."
            )
        return collect_part(self._sampler, snapshot)

    def _count_step(self) -> None:
        self._steps_made += 1
