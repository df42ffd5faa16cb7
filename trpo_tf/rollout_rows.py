"""A rollout's rows before a policy and a critic, and flat as a batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trpo_tf import functional
from trpo_tf.chunks import chunked_map
from trpo_tf.policies import log_probs_of, validate_distribution
from trpo_tf.types import AdvantageEstimate, Batch, Rollout
from trpo_tf.value_function import checked_values


def flat_rows(nest: Any) -> Any:
    """[T, B, …] to [T·B, …], for every array of a nest.

    >>> flat_rows({"position": tf.zeros([5, 2, 3])})["position"].shape.as_list()
    [10, 3]
    """
    return tf.nest.map_structure(lambda array: tf.reshape(array, [-1, *array.shape[2:]]), nest)


def without_last(observations: Any) -> Any:
    """The observations [T, B, *O] on which actions were drawn, out of [T+1, B, *O]."""
    return tf.nest.map_structure(lambda array: array[:-1], observations)


def target_log_probs(policy: keras.Model, rollout: Rollout, chunk_rows: int | None = None) -> Any:
    """Log-probabilities of a rollout's actions under π_old, [T, B], for `Advantage` off policy.

    Args:
        policy: a built Keras model, observations ↦ `tfd.Distribution`.
        rollout: of T steps and B environments, sizes that are known.
        chunk_rows: rows at a time, to bound memory; None: all.

    Raises:
        TypeError, ValueError: for a policy whose output cannot be used.
    """
    state = functional.state(policy)
    parameters = functional.parameters(policy)

    def evaluate(rows: tuple[Any, Any]) -> Any:
        distribution = functional.apply(policy, parameters, rows[0], state)
        validate_distribution(distribution, rows[1].shape[0])
        return log_probs_of(distribution, rows[1])

    actions = functional.as_inputs(rollout.actions, policy.compute_dtype)
    rows = (flat_rows(without_last(rollout.observations)), flat_rows(actions))
    return tf.reshape(chunked_map(evaluate, rows, chunk_rows), rollout.rewards.shape)


def critic_values(
    value_function: keras.Model, rollout: Rollout, chunk_rows: int | None = None
) -> Any:
    """The critic's values of all of a rollout's observations, [T+1, B], for `Advantage`.

    Args:
        value_function: a built Keras model, observations ↦ values [N].
        rollout: of T steps and B environments, sizes that are known.
        chunk_rows: rows at a time, to bound memory; None: all.

    Raises:
        ValueError: if the critic's output is not [N].
    """
    state = functional.state(value_function)
    parameters = functional.parameters(value_function)
    values = chunked_map(
        lambda rows: checked_values(functional.apply(value_function, parameters, rows, state)),
        flat_rows(rollout.observations),
        chunk_rows,
    )
    steps, envs = rollout.rewards.shape
    return tf.reshape(values, [steps + 1, envs])


def make_batch(
    rollout: Rollout,
    estimate: AdvantageEstimate,
    importance_weights: Any = None,
    weights: Any = None,
) -> Batch:
    """The rows of a rollout and their advantages, flat, for `NaturalGradientOptimizer.step`.

    Args:
        rollout: of T steps and B environments.
        estimate: what `Advantage` said of it.
        importance_weights: truncated π_old/β, [T, B]; None: the step computes them from the
            behaviour log-probabilities and shrinks its trust region by what they tell.
        weights: how much each row counts in every mean, [T, B]; None: 1 where the mask is True.

    Returns:
        T·B rows; without weights, those that the mask leaves out weigh 0.

    >>> rollout = Rollout(
    ...     observations=tf.zeros([3, 1, 4]),
    ...     actions=tf.zeros([2, 1]),
    ...     behaviour_log_probs=tf.zeros([2, 1]),
    ...     rewards=tf.ones([2, 1]),
    ...     terminated=tf.constant([[True], [False]]),
    ...     truncated=tf.zeros([2, 1], tf.bool),
    ...     mask=tf.constant([[True], [False]]),
    ...     policy_version=tf.zeros([2, 1], tf.int64),
    ... )
    >>> batch = make_batch(rollout, AdvantageEstimate(tf.ones([2, 1]), tf.ones([2, 1])))
    >>> batch.observations.shape.as_list(), batch.weights.numpy().tolist()
    ([2, 4], [1.0, 0.0])
    """
    return Batch(
        observations=flat_rows(without_last(rollout.observations)),
        actions=flat_rows(rollout.actions),
        advantages=flat_rows(estimate.advantages),
        behaviour_log_probs=flat_rows(rollout.behaviour_log_probs),
        weights=tf.cast(
            flat_rows(rollout.mask if weights is None else weights), estimate.advantages.dtype
        ),
        importance_weights=None if importance_weights is None else flat_rows(importance_weights),
    )
