"""Keras models as pure functions of their variables' values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def is_built(model: Any) -> bool:
    """Whether a model has its variables; a subclassed one gets them when it is first called."""
    return bool(model.built and model.variables)


def parameters(model: Any) -> list[Any]:
    """The values of the model's trainable variables, as tensors."""
    return [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]


def state(model: Any) -> list[Any]:
    """The values of the variables that no gradient trains: a normaliser's statistics, say."""
    return [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]


def apply(
    model: Any,
    parameter_values: Sequence[Any],
    observations: Any,
    state_values: Sequence[Any] | None = None,
) -> Any:
    """The model's output with other values in place of its trainable variables.

    Nothing is assigned, so this can be differentiated in forward and reverse mode, and run
    inside loops and under XLA.

    Args:
        model: a built `keras.Model`.
        parameter_values: in the order of `model.trainable_variables`.
        observations: what the model is called on.
        state_values: in the order of `model.non_trainable_variables`; None: their own values.

    Returns:
        What `model.call` returns: a distribution, or values.
    """
    if state_values is None:
        state_values = state(model)
    outputs, _ = model.stateless_call(list(parameter_values), list(state_values), observations)
    return outputs


def as_inputs(array: Any, dtype: Any) -> Any:
    """A tensor of any numbers; floats in the model's dtype, whole numbers in their own.

    >>> as_inputs([0.5, 1.0], "float64").dtype, as_inputs([1, 2], "float64").dtype
    (tf.float64, tf.int32)
    """
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor


def assign(model: Any, parameter_values: Sequence[Any]) -> None:
    """Writes values into the model's trainable variables, in their order."""
    for variable, value in zip(model.trainable_variables, parameter_values, strict=True):
        variable.assign(value)
