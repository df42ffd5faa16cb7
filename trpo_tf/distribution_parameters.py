"""The tensors that a TFP distribution is made of, by name and one row per observation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions
tfb = tfp.bijectors


def named_parameters(distribution: Any, num_rows: Any) -> dict[str, Any]:
    """Names a distribution's parameter tensors and gives each a leading row dimension.

    A parameter shared by all rows (a state-independent scale, say) is repeated for each. Parts
    of a compound distribution keep their names behind the part's (`bijector_scale`); what is in
    the part called `distribution` (`Independent`, `TransformedDistribution`) needs no prefix.

    Args:
        distribution: any `tfd.Distribution` whose first batch dimension, if any, is the rows.
        num_rows: scalar integer tensor N.

    Returns:
        Name to tensor [N, ...], in the distribution's own order.

    Raises:
        ValueError: if the distribution shows no parameter.

    >>> normal = tfd.Independent(tfd.Normal(tf.zeros([3, 2]), 0.5), 1)
    >>> {name: p.shape.as_list() for name, p in named_parameters(normal, 3).items()}
    {'loc': [3, 2], 'scale': [3, 2]}
    """
    # The size of a tensor is no constant while tracing, not even where its shape is known.
    if distribution.batch_shape.rank and distribution.batch_shape[0] is not None:
        num_rows = distribution.batch_shape[0]
    parameters: dict[str, Any] = {}
    for name, tensor in _parameters(distribution, ""):
        parameters[name] = _with_rows(tensor, num_rows)
    if not parameters:
        raise ValueError(
            f"the policy's distribution {type(distribution).__name__} shows no parameters: its "
            "constructor must pass `parameters=dict(locals())` on, as TFP's distributions do."
        )
    return parameters


def class_name(distribution: Any) -> str:
    """Names a distribution's class and those of its parts.

    >>> class_name(tfd.Independent(tfd.Normal([0.0], 1.0), 1))
    'Independent(Normal)'
    """
    parts = [
        class_name(value)
        for value in distribution.parameters.values()
        if isinstance(value, tfd.Distribution | tfb.Bijector)
    ]
    name = type(distribution).__name__.lstrip("_")
    return f"{name}({', '.join(parts)})" if parts else name


def components(distribution: Any) -> list[Any]:
    """The tensors that a distribution is made of; itself alone where it cannot be taken apart."""
    try:
        return tf.nest.flatten(distribution, expand_composites=True)
    except NotImplementedError:  # TFP's word for a class that does not list its parameters
        return [distribution]


def in_float64(*distributions: Any) -> tuple[Any, ...]:
    """The same distributions with every floating parameter tensor widened to float64.

    Those that differ from the first in their tensors alone are put together as it is: each would
    get a name of its own in a graph, by which too TFP tells bijectors apart. One that cannot be
    taken apart is returned as it is.

    >>> (wide,) = in_float64(tfd.Normal([0.0], tf.constant(1.0)))
    >>> wide.scale.dtype
    tf.float64
    """
    first = distributions[0]
    return tuple(_put_together(each, first) for each in distributions)


def float_type(distribution: Any, otherwise: tf.DType) -> tf.DType:
    """The type of its first floating parameter tensor, or another where none is found."""
    dtypes = (part.dtype for part in components(distribution))
    return next((dtype for dtype in dtypes if dtype.is_floating), otherwise)


def _put_together(distribution: Any, structure: Any) -> Any:
    parts = components(distribution)
    if parts[0] is distribution:
        return distribution
    own, given = map(tf.type_spec_from_value, (distribution, structure))
    if given.most_specific_common_supertype([own]) is None:
        structure = distribution
    wide = [tf.cast(part, tf.float64) if part.dtype.is_floating else part for part in parts]
    return tf.nest.pack_sequence_as(structure, wide, expand_composites=True)


def _parameters(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    properties = _properties(owner)
    for name, value in owner.parameters.items():
        if isinstance(value, tfd.Distribution | tfb.Bijector):
            yield from _parameters(value, prefix if name == "distribution" else f"{prefix}{name}_")
        elif isinstance(value, list | tuple) and any(isinstance(v, tfb.Bijector) for v in value):
            for index, part in enumerate(value):
                yield from _parameters(part, f"{prefix}{name}_{index}_")
        elif _is_parameter(value, properties.get(name)):
            hint = owner.dtype if tf.as_dtype(owner.dtype or tf.float32).is_floating else None
            tensor = tf.convert_to_tensor(value, dtype_hint=hint)
            yield f"{prefix}{name}", _broadcast_to_batch(owner, tensor, properties.get(name))


def _properties(owner: Any) -> dict[str, Any]:
    try:
        return dict(owner.parameter_properties(dtype=owner.dtype))
    except NotImplementedError:  # the same: then tensors among its arguments are what it has
        return {}


def _is_parameter(value: Any, properties: Any) -> bool:
    if properties is not None:
        return value is not None and properties.is_tensor and not properties.specifies_shape
    return tf.is_tensor(value) or isinstance(value, tf.Variable | float)


def _broadcast_to_batch(owner: Any, tensor: Any, properties: Any) -> Any:
    """A scalar scale beside a [N, A] location becomes [N, A] itself."""
    if not isinstance(owner, tfd.Distribution) or properties is None:
        return tensor
    event_rank = properties.event_ndims
    if not isinstance(event_rank, int) or tensor.shape.rank is None:
        return tensor
    split = tensor.shape.rank - event_rank
    shape = tf.concat([owner.batch_shape_tensor(), tf.shape(tensor)[split:]], axis=0)
    result = tf.broadcast_to(tensor, shape)
    result.set_shape(owner.batch_shape.concatenate(tensor.shape[split:]))
    return result


def _with_rows(tensor: Any, num_rows: Any) -> Any:
    """A tensor whose shape is wholly known while rows are not belongs to no row: repeat it."""
    static_rows = tf.get_static_value(tf.convert_to_tensor(num_rows))
    leading = tensor.shape[0] if tensor.shape.rank else 0
    if tensor.shape.rank is None or (leading is None or leading == static_rows):
        return tensor
    return tf.broadcast_to(tensor, tf.concat([[num_rows], tf.shape(tensor)], axis=0))
