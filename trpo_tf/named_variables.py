"""Variables under names that stay the same from process to process, and files of them.

The files are TensorFlow's own (a tensor bundle, which `tf.train.load_checkpoint` reads), but the
names are not `tf.train.Checkpoint`'s: its object graph misses, without a word, every Keras 3 layer
that a model holds in a list or a dictionary, and the state of every seed generator (Keras 3.15).
A Keras model's own list of variables misses plain `tf.Variable` attributes. Here both are taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

_GROUP_NAME = re.compile(r"\w+", re.ASCII)
_AUTOMATIC_NUMBER = re.compile(r"_\d+(?=_|/|$)")


def named_variables(trackables: Mapping[str, Any]) -> dict[str, Any]:
    """Finds every variable of some objects and names it `<object>/<path>`.

    Keras numbers layers in the order in which a process makes them (`dense_7`); such numbers are
    cut, and variables of equal path told apart by their order (`dense/kernel`, `dense/kernel#1`),
    so the same architecture has the same names everywhere.

    Args:
        trackables: objects by name: Keras layers, models and optimizers, `tf.Module`s,
          `tf.Variable`s, Keras variables, or anything with a list `variables`. All variables must
          exist: models called once, optimizers built.

    Returns:
        tf.Variables by name, in the order of the objects.

    Raises:
        ValueError: an object is not built, or a name is not made of letters, digits and `_`.
        TypeError: an object is of no such kind.

    >>> named = named_variables({"scale": tf.Variable(1.0, name="running"), "other": tf.Module()})
    Traceback (most recent call last):
    ValueError: other has no variables yet. Call or build it before it is saved or restored.
    >>> list(named_variables({"scale": tf.Variable(1.0, name="running")}))
    ['scale/running']
    """
    named: dict[str, Any] = {}
    for group, trackable in trackables.items():
        if not _GROUP_NAME.fullmatch(group):
            raise ValueError(
                f"names of saved objects must be letters, digits and _, got {group!r}."
            )
        found = list(_group_variables(group, trackable))
        is_unbuilt = isinstance(trackable, keras.layers.Layer) and not trackable.built
        if not found or is_unbuilt:
            raise ValueError(
                f"{group} has no variables yet. Call or build it before it is saved or restored."
            )
        for path, variable in found:
            stable = f"{group}/{_AUTOMATIC_NUMBER.sub('', path.split(':')[0])}"
            name, count = stable, 0
            while name in named:
                count += 1
                name = f"{stable}#{count}"
            named[name] = variable
    return named


def write_variables(prefix: str | os.PathLike[str], variables: Mapping[str, Any]) -> None:
    """Writes variables to `<prefix>.index` and `<prefix>.data-00000-of-00001`.

    Raises:
        OSError: the files cannot be written; names the path.
    """
    names = list(variables)
    try:
        tf.raw_ops.SaveV2(
            prefix=os.fspath(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.convert_to_tensor(variables[name]) for name in names],
        )
    except tf.errors.OpError as error:
        raise OSError(f"{prefix} cannot be written: {_first_line(error)}") from error


def read_variables(
    prefix: str | os.PathLike[str], variables: Mapping[str, Any], subset: bool = False
) -> None:
    """Assigns what `write_variables` wrote: all of it or, if anything does not fit, nothing.

    Args:
        prefix: as given to `write_variables`.
        variables: tf.Variables by name.
        subset: whether the file may hold further objects (first parts of names) than these.

    Raises:
        ValueError: a variable is missing on either side, has another shape or dtype, or the file
          cannot be read. No variable has changed then.
    """
    try:
        reader = tf.train.load_checkpoint(os.fspath(prefix))
        shapes = reader.get_variable_to_shape_map()
        dtypes = reader.get_variable_to_dtype_map()
        groups = {name.split("/")[0] for name in variables}
        held = {name for name in shapes if not subset or name.split("/")[0] in groups}
        # Shapes are compared before any number is read: a file's claims cost no memory.
        mismatches = list(_mismatches(variables, held, shapes, dtypes))
        values = {} if mismatches else {name: reader.get_tensor(name) for name in variables}
    except (tf.errors.OpError, RuntimeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{prefix} cannot be read: {_first_line(error)}") from error
    if mismatches:
        others = f" ({len(mismatches) - 1} more do not fit)" if len(mismatches) > 1 else ""
        raise ValueError(
            f"{prefix} does not fit: {mismatches[0]}{others}. "
            "Make the models with the settings of the run that saved them."
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _group_variables(group: str, trackable: Any) -> Iterator[tuple[str, Any]]:
    """Yields each variable of one object once, with its path."""
    seen = set()
    for path, variable in _all_variables(group, trackable):
        plain = variable.value if isinstance(variable, keras.Variable) else variable
        if id(plain) not in seen:
            seen.add(id(plain))
            yield path, plain


def _all_variables(group: str, trackable: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(trackable, keras.Variable | tf.Variable):
        yield _path(trackable), trackable
        return
    is_tracked = isinstance(trackable, tf.__internal__.tracking.Trackable)
    if not is_tracked and not hasattr(trackable, "variables"):
        raise TypeError(
            f"{group} must be a Keras object, a tf.Module or a variable to be saved, got "
            f"{type(trackable).__name__}. Put counters and settings into the state instead."
        )
    for variable in getattr(trackable, "variables", ()):
        yield _path(variable), variable
    # An optimizer also tracks the variables that it trains; they belong to their models.
    if is_tracked and not isinstance(trackable, keras.optimizers.Optimizer):
        for part in tf.train.TrackableView(trackable).descendants():
            if isinstance(part, tf.Variable):
                yield _path(part), part
            elif isinstance(part, keras.layers.Layer):
                for variable in part.variables:
                    yield _path(variable), variable


def _path(variable: Any) -> str:
    return variable.path if isinstance(variable, keras.Variable) else variable.name


def _mismatches(
    variables: Mapping[str, Any],
    held: set[str],
    shapes: Mapping[str, Any],
    dtypes: Mapping[str, Any],
) -> Iterator[str]:
    for name, variable in variables.items():
        if name not in held:
            yield f"{name} (shape {variable.shape.as_list()}) is not in it"
        elif not variable.shape.is_compatible_with(shapes[name]):
            yield f"{name} has shape {shapes[name]} in it and {variable.shape.as_list()} here"
        elif dtypes[name] != variable.dtype:
            yield f"{name} is {dtypes[name].name} in it and {variable.dtype.name} here"
    for name in sorted(held - variables.keys()):
        yield f"it holds {name} (shape {shapes[name]}), which does not exist here"


def _first_line(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error)
    return str(message).splitlines()[0] if message else type(error).__name__
