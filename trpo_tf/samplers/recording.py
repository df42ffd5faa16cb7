"""The arrays that one rollout is written into while it is collected."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


class Recording:
    """Fresh arrays for T steps of B environments, filled row by row.

    Args:
        observation_specs: nest of tensor specs of one step's observations, [B, *O].
        action_spec: of one step's drawn actions, [B, *A].
        num_steps: T.

    Attributes:
        actions: [T, B, *A].
        rewards: [T, B] float64, raw.
        terminated, truncated: [T, B] bool.
    """

    def __init__(self, observation_specs: Any, action_spec: Any, num_steps: int) -> None:
        def rows(count: int, spec: Any) -> np.ndarray:
            return np.empty([count, *spec.shape], spec.dtype.as_numpy_dtype)

        self._specs = observation_specs
        self._leaves = [rows(num_steps + 1, spec) for spec in tf.nest.flatten(observation_specs)]
        self.actions = rows(num_steps, action_spec)
        self._env_shape = self.actions.shape[1:2]
        self.rewards = np.empty(self.actions.shape[:2], np.float64)
        self.terminated = np.empty(self.actions.shape[:2], bool)
        self.truncated = np.empty(self.actions.shape[:2], bool)

    @property
    def observations(self) -> Any:
        """[T+1, B, *O], in the structure of the specs."""
        return tf.nest.pack_sequence_as(self._specs, self._leaves)

    def leaves(self, row: int) -> list[np.ndarray]:
        """The arrays [B, …] of one row's observations, in `tf.nest.flatten`'s order."""
        return [leaf[row] for leaf in self._leaves]

    def start(self, observations: Any) -> None:
        """Writes the observations from which the first actions are chosen.

        Raises:
            ValueError: if they have another structure or other shapes than the specs.
        """
        try:
            tf.nest.assert_same_structure(self._specs, observations)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the environment's observations, a {type(observations).__name__}, are not "
                f"structured like its observation space: {str(error).splitlines()[0]}"
            ) from error
        self._write(0, observations)

    def add(
        self,
        row: int,
        actions: np.ndarray,
        observations: Any,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> None:
        """Writes what was done on a row and what the environment answered.

        Raises:
            ValueError: if the environment's answers have another shape than its spaces say.
        """
        if not rewards.shape == terminated.shape == truncated.shape == self._env_shape:
            shapes = [list(values.shape) for values in (rewards, terminated, truncated)]
            raise ValueError(
                f"the vector env gave rewards, terminated and truncated of shapes {shapes}, "
                f"expected {list(self._env_shape)} each, one entry for each environment."
            )
        self.actions[row] = actions
        self.rewards[row] = rewards
        self.terminated[row] = terminated
        self.truncated[row] = truncated
        self._write(row + 1, observations)

    def _write(self, row: int, observations: Any) -> None:
        # Flattening costs more than the copy does; a lone array needs none.
        lone = isinstance(observations, np.ndarray)
        given = (observations,) if lone else tf.nest.flatten(observations)
        for leaf, values in zip(self._leaves, given, strict=True):
            if values.shape != leaf.shape[1:]:
                raise ValueError(
                    f"the vector env gave observations of shape {list(values.shape)}, but its "
                    f"spaces and number of environments say {list(leaf.shape[1:])}; correct the "
                    "environment's spaces."
                )
            leaf[row] = values
