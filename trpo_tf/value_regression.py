"""The critic's fit: regression of values on their targets with any Keras optimizer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trpo_tf import functional, random
from trpo_tf.chunks import chunked_sum
from trpo_tf.execution import Execution


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
        self._compiled_fit = execution.compile(self._fit)

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
        """
        self.build(value_function)
        dtype = value_function.compute_dtype
        targets = tf.cast(targets, dtype)
        weights = tf.ones_like(targets) if weights is None else tf.cast(weights, dtype)
        observations = tf.nest.map_structure(tf.convert_to_tensor, observations)
        scale = tf.cast(scale, dtype)
        seed = tf.cast(seed, tf.int32)
        return self._compiled_fit(value_function, observations, targets, weights, scale, seed)

    def _fit(self, value_function: Any, *arguments: Any) -> Any:
        values, slots, loss = self.propose(value_function, *arguments)
        self.assign(value_function, values, slots)
        return loss

    def assign(self, value_function: keras.Model, values: list[Any], slots: list[Any]) -> None:
        """Writes what `propose` returned into the critic's variables and the optimizer's."""
        functional.assign(value_function, values)
        for variable, value in zip(self.optimizer.variables, slots, strict=True):
            variable.assign(value)

    def propose(
        self,
        value_function: keras.Model,
        observations: Any,
        targets: Any,
        weights: Any,
        scale: Any,
        seed: Any,
    ) -> tuple[list[Any], list[Any], Any]:
        """The fit without assigning it, for use inside a larger compiled function.

        Returns:
            New values of the critic's trainable variables, of the optimizer's variables, and the
            loss of the last epoch.
        """
        values = functional.parameters(value_function)
        slots = [tf.convert_to_tensor(variable.value) for variable in self.optimizer.variables]
        descend = _Descent(value_function, self.optimizer, scale, self.chunk_rows)
        rows = (observations, targets, weights)
        num_rows = targets.shape[0]
        size = num_rows if self.minibatch_size is None else min(self.minibatch_size, num_rows)

        def epoch(number: Any, values: Any, slots: Any, _: Any) -> tuple[Any, ...]:
            order = _order(num_rows, size, seed, number) if size < num_rows else None
            values, slots, loss = _one_epoch(descend, rows, values, slots, order)
            return number + 1, values, slots, loss

        _, values, slots, loss = tf.while_loop(
            lambda number, *_: number < self.epochs,
            epoch,
            (tf.constant(0), values, slots, tf.zeros([], targets.dtype)),
        )
        return values, slots, loss


class _Descent:
    """One gradient step on some rows, as a function of variables' values."""

    def __init__(self, model: Any, optimizer: Any, scale: Any, chunk_rows: int | None) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scale = scale
        self.chunk_rows = chunk_rows
        self.state = functional.state(model)

    def __call__(self, values: Any, slots: Any, rows: Any) -> tuple[Any, Any, Any, Any]:
        def evaluate(rows: Any) -> tuple[Any, list[Any]]:
            observations, targets, weights = rows
            with tf.GradientTape() as tape:
                tape.watch(values)
                outputs = functional.apply(self.model, values, observations, self.state)
                errors = (outputs - targets) / self.scale
                loss = tf.reduce_sum(tf.where(weights > 0, weights * errors**2, 0))
            return loss, tape.gradient(loss, values)

        loss, gradients = chunked_sum(evaluate, rows, self.chunk_rows)
        total = tf.reduce_sum(rows[2])
        gradients = [tf.math.divide_no_nan(gradient, total) for gradient in gradients]
        values, slots = self.optimizer.stateless_apply(slots, gradients, values)
        return list(values), list(slots), loss, total


def _one_epoch(
    descend: _Descent, rows: Any, values: Any, slots: Any, order: Any
) -> tuple[Any, Any, Any]:
    if order is None:
        values, slots, loss, total = descend(values, slots, rows)
        return values, slots, tf.math.divide_no_nan(loss, total)
    num_rows = rows[1].shape[0]

    def step(number: Any, values: Any, slots: Any, loss: Any, total: Any) -> tuple[Any, ...]:
        indices = order[number]
        part = tf.nest.map_structure(
            lambda tensor: tf.gather(tensor, tf.minimum(indices, num_rows - 1)), rows
        )
        # Numbers past the last row fill up the last minibatch; they weigh nothing.
        part = (part[0], part[1], tf.where(indices < num_rows, part[2], 0))
        values, slots, added_loss, added_total = descend(values, slots, part)
        return number + 1, values, slots, loss + added_loss, total + added_total

    zero = tf.zeros([], rows[1].dtype)
    _, values, slots, loss, total = tf.while_loop(
        lambda number, *_: number < order.shape[0],
        step,
        (tf.constant(0), values, slots, zero, zero),
    )
    return values, slots, tf.math.divide_no_nan(loss, total)


def _order(num_rows: int, size: int, seed: Any, epoch: Any) -> Any:
    """A random order of the rows, cut into minibatches [K, size]."""
    num_batches = -(-num_rows // size)
    seeds = tf.reshape(tf.stack([seed, epoch]), [1, 2])
    keys = tf.bitcast(random.row_bits(seeds, num_rows)[0], tf.int32)
    order = tf.argsort(keys, stable=True)
    padded = tf.concat([order, tf.range(num_rows, num_batches * size)], 0)
    return tf.reshape(padded, [num_batches, size])
