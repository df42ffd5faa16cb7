"""One version of a SavedModel in a session, with TensorFlow's batching op before each signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from trpo_tf import saved_graph, warmup
from trpo_tf.serving.status_codes import ServingError, of_tensorflow
from trpo_tf.serving.tensor_json import DEFAULT_SIGNATURE
from trpo_tf.serving.wire import array_of

# TensorFlow counts the rows of a request, a thousand batches of them, in 32 bits.
MAX_BATCH_SIZE = 100_000


class Batching(NamedTuple):
    """How concurrent requests are put together, as in TensorFlow Serving's parameters.

    Attributes:
        max_batch_size: rows in one run, 1 to `MAX_BATCH_SIZE`; larger requests are split.
        timeout_micros: how long an incomplete batch waits for more, ≥ 0.
        num_threads: batches that run at the same time, ≥ 1.
        max_enqueued: batches that may wait before requests are refused as UNAVAILABLE, ≥ 1.
    """

    max_batch_size: int = 64
    timeout_micros: int = 1000
    num_threads: int = 2
    max_enqueued: int = 1000

    @property
    def max_request_size(self) -> int:
        """Rows of one request, beyond which it is refused: what the queue can hold."""
        return self.max_batch_size * self.max_enqueued


class Signature(NamedTuple):
    """One signature in the session.

    Attributes:
        definition: its `SignatureDef`.
        dtypes: of its inputs, by name.
        shapes: of its inputs, by name; None for a dimension of any size.
        alone: arrays in the order of the inputs to arrays in the order of the outputs.
        batched: the same, put together with concurrent calls; `alone` without batching.
    """

    definition: Any
    dtypes: dict[str, np.dtype]
    shapes: dict[str, tuple[int | None, ...]]
    alone: Callable[..., Any]
    batched: Callable[..., Any]


class ServedVersion:
    """A loaded version; thread-safe. Variables: those of the SavedModel, in its session.

    Args:
        path: the version's directory.
        batching: None runs every request alone.

    Raises:
        tf.errors.OpError, OSError, RuntimeError, ValueError: if it cannot be loaded.
    """

    def __init__(self, path: Path, batching: Batching | None = None) -> None:
        self.path = path
        self._max_rows = batching.max_request_size if batching else 0
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(
                    self._session, ["serve"], str(path)
                )
                self.signatures = {
                    name: self._signature(meta_graph.graph_def, definition, batching)
                    for name, definition in saved_graph.signatures(meta_graph).items()
                }
        except BaseException:
            self._session.close()
            raise

    def warm_up(self) -> None:
        """Replays the version's warm-up requests; a version without any is as it is.

        Raises:
            ServingError: if one of them is not answered.
            ValueError: if their file is damaged.
        """
        if not (self.path / "assets.extra" / warmup.FILE_NAME).is_file():
            return
        for log in warmup.read_warmup(self.path):
            request = log.predict_log.request
            inputs = {name: array_of(proto) for name, proto in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)

    def signature(self, name: str) -> Signature:
        """A signature by its name; the empty one means `serving_default`.

        Raises:
            ServingError: FAILED_PRECONDITION if there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Serving signature key {name[:100]!r} not found; there are "
                f"{', '.join(self.signatures)}.",
            )
        return self.signatures[name]

    def predict(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
            name: of the signature.
            inputs: by name, each [N, ...], N ≥ 1.

        Returns:
            The outputs by name.

        Raises:
            ServingError: INVALID_ARGUMENT for inputs that do not fit; otherwise as TensorFlow says.
        """
        signature = self.signature(name)
        _check_inputs(signature, inputs)
        arrays = [inputs[key] for key in signature.dtypes]
        try:
            outputs = signature.batched(*arrays)
        except tf.errors.InvalidArgumentError as error:
            if signature.batched is signature.alone or len(arrays[0]) > self._max_rows:
                raise of_tensorflow(error) from error
            outputs = _alone(signature, arrays)
        except tf.errors.OpError as error:
            raise of_tensorflow(error) from error
        return dict(zip(signature.definition.outputs, outputs, strict=True))

    def close(self) -> None:
        """Frees the session; the version must not be used any more."""
        self._session.close()

    def _signature(self, graph_def: Any, definition: Any, batching: Batching | None) -> Signature:
        inputs, outputs = definition.inputs, definition.outputs
        dtypes = {key: np.dtype(tf.as_dtype(i.dtype).as_numpy_dtype) for key, i in inputs.items()}
        shapes = {key: tuple(tf.TensorShape(i.tensor_shape)) for key, i in inputs.items()}
        names = [info.name for info in inputs.values()]
        fetched = [info.name for info in outputs.values()]
        alone = self._callable(names, fetched)
        if batching is None:
            return Signature(definition, dtypes, shapes, alone, alone)
        part = saved_graph.signature_graph(graph_def, definition)

        @tf.nondifferentiable_batch_function(
            batching.num_threads,
            batching.max_request_size,
            batching.timeout_micros,
            # Large requests are split into the last of these sizes. All sizes below are allowed
            # too, or the op would fill batches up to the next one.
            allowed_batch_sizes=list(range(1, batching.max_batch_size + 1)),
            max_enqueued_batches=batching.max_enqueued,
            autograph=False,
        )
        def together(*tensors: Any) -> list[Any]:
            # Variables are found by their names in the session's resources.
            return tf.graph_util.import_graph_def(
                part, dict(zip(names, tensors, strict=True)), fetched, name="served"
            )

        fed = [
            tf.compat.v1.placeholder(info.dtype, tf.TensorShape(info.tensor_shape))
            for info in inputs.values()
        ]
        answers = together(*fed)
        answers = list(answers) if isinstance(answers, list | tuple) else [answers]
        batched = self._callable([t.name for t in fed], [t.name for t in answers])
        return Signature(definition, dtypes, shapes, alone, batched)

    def _callable(self, fed: list[str], fetched: list[str]) -> Callable[..., Any]:
        # `Session.make_callable` hands what is fed to `Session.run`, which costs 100 µs and more a
        # call; this is what TensorFlow itself calls sessions through, 25 µs in the caller's thread.
        options = config_pb2.CallableOptions(feed=fed, fetch=fetched)
        options.run_options.inter_op_thread_pool = -1
        return self._session._make_callable_from_options(options)


def _alone(signature: Signature, arrays: list[np.ndarray]) -> Any:
    """One bad request fails the whole batch: each request of it gets its own verdict."""
    try:
        return signature.alone(*arrays)
    except tf.errors.OpError as error:
        raise of_tensorflow(error) from error


def _check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    if set(inputs) != set(signature.dtypes):
        raise _invalid(f"expected the inputs {sorted(signature.dtypes)}, got {sorted(inputs)}")
    for name, value in inputs.items():
        shape = signature.shapes[name]
        if value.dtype != signature.dtypes[name]:
            raise _invalid(
                f"input {name!r} must be of type {signature.dtypes[name]}, got {value.dtype}"
            )
        fits = len(shape) == value.ndim and all(
            size in (None, given) for size, given in zip(shape, value.shape, strict=True)
        )
        if not fits:
            raise _invalid(f"input {name!r} must have shape {shape}, got {value.shape}")
    rows = {name: len(value) for name, value in inputs.items()}
    if set(rows.values()) in ({0}, set()) or len(set(rows.values())) > 1:
        raise _invalid(f"inputs must agree in their number of rows, at least one, got {rows}")


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
