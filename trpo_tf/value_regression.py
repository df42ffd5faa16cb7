"""The critic's fit: regression of values on their targets with any Keras optimizer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trpo_tf import functional, random
from trpo_tf.chunks import chunked_sum
from trpo_tf.execution import Execution
from trpo_tf.value_function import checked_values


class ValueRegression:
    """Minimises E[((V(s) − target) / scale)²] by minibatch epochs or full-batch steps.

    Holds the Keras optimizer and with it its slots and learning rate, a schedule if wished. The
    critic's effort is the largest difference between the TRPOs of well-known libraries; 20 epochs
    of small minibatches is what the best published results use.

    Args:
        optimizer: of Keras; None: Adam at 1e-3.
        epochs: passes over the rows; full-batch steps when `minibatch_size` is None.
        minibatch_size: rows of a gradient step, or None for all.
        chunk_rows: rows at a time within a full-batch step, to bound memory; None: all.
        execution: how `fit` runs.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | None = None,
        epochs: int = 20,
        minibatch_size: int | None = 64,
        chunk_rows: int | None = None,
        execution: Execution = Execution.XLA,
    ) -> None:
        if epochs < 0:
            raise ValueError(f"epochs must be >= 0, got {epochs}. 20 is typical.")
        for name, value in (("minibatch_size", minibatch_size), ("chunk_rows", chunk_rows)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1 or None, got {value}.")
        self.optimizer = optimizer or keras.optimizers.Adam(1e-3)
        self.epochs = epochs
        self.minibatch_size = minibatch_size
        self.chunk_rows = chunk_rows
        self._compiled_fit = execution.compile(self.fit_inside)

    def build(self, value_function: keras.Model) -> None:
        """Creates the optimizer's slots for a critic; once, before the first fit."""
        if not self.optimizer.built:
            self.optimizer.build(value_function.trainable_variables)

    def fit(
        self,
        value_function: keras.Model,
        observations: Any,
        targets: Any,
        weights: Any = None,
        scale: Any = 1.0,
        seed: Any = 0,
    ) -> Any:
        """Fits a critic in one compiled call and assigns its variables and the optimizer's.

        Args:
            value_function: observations [N, *O] ↦ values [N].
            observations: [N, *O].
            targets: [N], in the unit of the values.
            weights: [N], 0 for rows that do not count; None: all count alike.
            scale: the unit in which errors are measured, > 0.
            seed: int of the minibatches' order.

        Returns:
            The mean squared error of the last epoch, in units of `scale`².

        Raises:
            ValueError: if the critic's output is not [N].
        """
        if not functional.is_built(value_function):
            value_function(tf.nest.map_structure(lambda rows: rows[:1], observations))
        self.build(value_function)
        dtype = value_function.compute_dtype
        targets = tf.cast(targets, dtype)
        weights = tf.ones_like(targets) if weights is None else tf.cast(weights, dtype)
        observations = tf.nest.map_structure(tf.convert_to_tensor, observations)
        scale = tf.cast(scale, dtype)
        seed = tf.cast(seed, tf.int32)
        return self._compiled_fit(value_function, observations, targets, weights, scale, seed)

    def fit_inside(
        self,
        value_function: keras.Model,
        observations: Any,
        targets: Any,
        weights: Any,
        scale: Any,
        seed: Any,
        usable: Any = True,
    ) -> Any:
        """`fit` for use inside a larger compiled function; arguments as tensors of static shape.

        When `usable` is false or the fit ends in values that are not finite, the critic and the
        optimizer are left exactly as they were.
        """
        variables = [*value_function.trainable_variables, *self.optimizer.variables]
        before = [tf.identity(variable.value) for variable in variables]
        descent = _Descent(value_function, self.optimizer, scale, self.chunk_rows)
        rows = (observations, targets, weights)
        num_rows = targets.shape[0]
        size = num_rows if self.minibatch_size is None else min(self.minibatch_size, num_rows)

        def epoch(number: Any, _: Any) -> tuple[Any, Any]:
            if size == num_rows:
                return number + 1, tf.math.divide_no_nan(*descent(rows))
            order = _order(num_rows, size, seed, number)
            return number + 1, _minibatches(descent, rows, order)

        _, loss = tf.while_loop(
            lambda number, _: number < self.epochs,
            epoch,
            (tf.constant(0), tf.zeros([], targets.dtype)),
        )
        # The optimizer's slots too: a second moment that has overflowed would stop it for good.
        after = [tf.identity(variable.value) for variable in variables]
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(part)) for part in after if part.dtype.is_floating]
        )
        for variable, value in zip(variables, before, strict=True):
            variable.assign(tf.where(usable & finite, variable.value, value))
        return loss


class _Descent:
    """One gradient step on some rows; assigns the model's and the optimizer's variables."""

    def __init__(self, model: Any, optimizer: Any, scale: Any, chunk_rows: int | None) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scale = scale
        self.chunk_rows = chunk_rows

    def __call__(self, rows: Any) -> tuple[Any, Any]:
        """Sums over the rows: of squared errors before the step, and of weights."""
        variables = [variable.value for variable in self.model.trainable_variables]

        def evaluate(rows: Any) -> tuple[Any, list[Any]]:
            observations, targets, weights = rows
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                errors = (checked_values(self.model(observations)) - targets) / self.scale
                # Before the square: a NaN beyond it would come back through its derivative.
                errors = tf.where(weights > 0, errors, 0)
                loss = tf.reduce_sum(weights * errors**2)
            return loss, tape.gradient(loss, variables, unconnected_gradients="zero")

        loss, gradients = chunked_sum(evaluate, rows, self.chunk_rows)
        total = tf.reduce_sum(rows[2])
        gradients = [tf.math.divide_no_nan(gradient, total) for gradient in gradients]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return loss, total


def _minibatches(descent: _Descent, rows: Any, order: Any) -> Any:
    num_rows = rows[1].shape[0]

    def step(number: Any, loss: Any, total: Any) -> tuple[Any, Any, Any]:
        indices = tf.gather(order, number)
        observations, targets, weights = tf.nest.map_structure(
            lambda tensor: tf.gather(tensor, tf.minimum(indices, num_rows - 1)), rows
        )
        # Numbers past the last row fill up the last minibatch; they weigh nothing.
        weights = tf.where(indices < num_rows, weights, 0)
        added_loss, added_total = descent((observations, targets, weights))
        return number + 1, loss + added_loss, total + added_total

    zero = tf.zeros([], rows[1].dtype)
    _, loss, total = tf.while_loop(
        lambda number, *_: number < order.shape[0], step, (tf.constant(0), zero, zero)
    )
    return tf.math.divide_no_nan(loss, total)


def _order(num_rows: int, size: int, seed: Any, epoch: Any) -> Any:
    """A random order of the rows, cut into minibatches [K, size]."""
    num_batches = -(-num_rows // size)
    seeds = tf.reshape(tf.stack([seed, epoch]), [1, 2])
    keys = tf.bitcast(random.row_bits(seeds, num_rows)[0], tf.int32)
    order = tf.argsort(keys, stable=True)
    padded = tf.concat([order, tf.range(num_rows, num_batches * size)], 0)
    return tf.reshape(padded, [num_batches, size])
