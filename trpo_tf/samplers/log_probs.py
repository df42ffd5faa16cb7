"""Log-probabilities of a whole rollout in one call, an environment at a time.

The last bits of a matrix product depend on how many rows it has. The steps of an environment have
bits of their own however many environments stand beside it, and so whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from trpo_tf import chunks, functional, spaces
from trpo_tf.execution import Execution
from trpo_tf.samplers.acting import Snapshot

# Rows of pictures that are a float copy at a time: 256 stacks of four 84×84 frames are 29 MB.
_IMAGE_CHUNK_ROWS = 256


def log_prob_function(
    policy: keras.Model, observation_space: gym.Space, execution: Execution
) -> Callable[[Snapshot, Any, np.ndarray], np.ndarray]:
    """Makes the function that computes a rollout's behaviour log-probabilities.

    Args:
        policy: a built model.
        observation_space: of one environment; its steps go through the policy together, pictures
            in chunks of rows.
        execution: how the function is run.

    Returns:
        A function of (snapshot, observations [T, B, *O], actions [T, B, *A]) that returns
        log β(a|s) [T, B] in float32.
    """
    chunk_rows = _IMAGE_CHUNK_ROWS if _has_images(observation_space) else None

    def env_log_probs(parameters: Any, state: Any, observations: Any, actions: Any) -> Any:
        def evaluate(rows: tuple[Any, Any]) -> Any:
            distribution = functional.apply(policy, parameters, rows[0], state)
            return tf.cast(distribution.log_prob(rows[1]), tf.float32)

        return tf.map_fn(
            lambda steps: chunks.chunked_map(evaluate, steps, chunk_rows),
            (observations, actions),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec(actions.shape[1:2], tf.float32),
        )

    compiled = execution.compile(env_log_probs)

    def log_probs(snapshot: Snapshot, observations: Any, actions: np.ndarray) -> np.ndarray:
        by_env = tf.nest.map_structure(_by_env, (observations, actions))
        values = compiled(snapshot.parameters, snapshot.state, *by_env)
        return np.ascontiguousarray(values.numpy().T)

    return log_probs


def _by_env(array: np.ndarray) -> Any:
    return tf.constant(np.swapaxes(array, 0, 1))


def _has_images(space: gym.Space) -> bool:
    if isinstance(space, gym.spaces.Dict):
        return any(_has_images(part) for part in space.spaces.values())
    if isinstance(space, gym.spaces.Tuple):
        return any(_has_images(part) for part in space.spaces)
    return spaces.is_image(space)
