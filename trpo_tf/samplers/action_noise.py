"""The random numbers of a whole rollout, drawn ahead in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from trpo_tf import draws, random


class ActionNoise:
    """What the actions of each (step, environment) are drawn from.

    The numbers depend on the seed, the environment's index and the step's number alone, and come
    from the plain TensorFlow kernels that exported models run too. For a distribution that noise
    cannot draw from, each row gets a seed of its own instead.

    Args:
        distribution: what the policy gives for B observations.
        seed: of the run.
        first_env: index of the first of the B environments among those of the run.

    Attributes:
        is_seeds: whether rows are seeds for the distribution's own sampling.
        row_spec: tf.TensorSpec of the rows of one step, [B, k].
    """

    def __init__(self, distribution: Any, seed: int, first_env: int = 0) -> None:
        self._spec = draws.noise_spec(distribution)
        self._seed = seed
        self._first_env = first_env
        self._num_envs = int(distribution.batch_shape[0])
        self.is_seeds = self._spec is None
        if self._spec is None:
            self.row_spec = tf.TensorSpec([self._num_envs, 2], tf.int32)
        else:
            dtype = _float_dtype(distribution)
            self.row_spec = tf.TensorSpec([self._num_envs, self._spec.size], dtype)
        self._traced_rows = tf.function(self._rows, autograph=False)

    def rows(self, first_step: int, num_steps: int) -> np.ndarray:
        """Noise [T, B, k], or seeds int32 [T, B, 2], of the steps from `first_step` on."""
        return self._traced_rows(tf.constant(first_step, tf.int64), num_steps).numpy()

    def _rows(self, first_step: tf.Tensor, num_steps: int) -> tf.Tensor:
        seeds = random.step_seeds(
            self._seed, self._first_env, self._num_envs, first_step, num_steps
        )
        if self._spec is None:
            return seeds
        noise = draws.row_noise(self._spec, tf.reshape(seeds, [-1, 2]), self.row_spec.dtype)
        return tf.reshape(noise, [num_steps, *self.row_spec.shape])

    def draw(self, distribution: Any, rows: Any) -> Any:
        """Draws actions [B, *A] from a distribution and the rows of one step."""
        if self.is_seeds:
            return draws.draw_rows(distribution, rows)
        return draws.draw_from_noise(distribution, rows)


def _float_dtype(distribution: Any) -> tf.DType:
    tensors = tf.nest.flatten(distribution, expand_composites=True)
    return tf.float64 if any(tensor.dtype == tf.float64 for tensor in tensors) else tf.float32
