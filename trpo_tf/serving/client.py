"""A policy on a server, called as if it were here."""

from __future__ import annotations

import operator
import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, SupportsIndex
from urllib.parse import urlsplit

import gymnasium as gym
import numpy as np
from tensorflow_serving.apis import get_model_status_pb2

from trpo_tf.loaded_policy import Sample
from trpo_tf.policy_inputs import checked_array, checked_seeds, policy_inputs
from trpo_tf.serving.grpc_client import GrpcClient
from trpo_tf.serving.rest_client import RestClient
from trpo_tf.serving.wire import Prediction, SignatureSpecs
from trpo_tf.signatures import DETERMINISTIC, DISTRIBUTION, SAMPLE, VALUE

# What the methods below take out of the answers.
_OUTPUTS = {
    DETERMINISTIC: frozenset({"actions"}),
    SAMPLE: frozenset(Sample._fields),
    VALUE: frozenset({"values"}),
}


class Client:
    """A policy on TensorFlow Serving or on the development server; thread-safe.

    Methods take a batch of observations [N, *O] or one observation [*O] and answer in kind, with
    NumPy arrays. What the model takes is asked of the server once, at the first call. All of them
    raise `ServingError` with the server's words if it refuses or cannot be reached, and ValueError
    for observations that do not fit, or for a model that is no policy.

    Args:
        url: `http://host:8501`, `https://…`, `grpc://host:8500`, or `grpcs://…` (TLS).
        model: its name on the server.
        version_or_label: a version's number, or the text of a label such as "stable"; None: the
            newest version.
        observation_space: what the model takes; without it observations are one array, or arrays
            by the names of the model's inputs.
        timeout: seconds, > 0: over REST for each try, over gRPC for a request with all its tries.
        retries: further tries when the server is busy or not there (429, 503 and their gRPC
            codes), with back-off; ≥ 0, over gRPC at most 4.
        backoff: seconds, ≥ 0; the pauses double from try to try, up to 10 seconds. Over gRPC the
            first is about this long (at least 0.05); over REST the first further try follows at
            once and the second after twice this.

    Raises:
        ValueError: for an argument that is none of these.

    >>> Client("ftp://localhost", "Walker2d")
    Traceback (most recent call last):
    ValueError: url must begin with http://, https://, grpc:// or grpcs:// ..., got 'ftp://localhost'.
    """

    def __init__(
        self,
        url: str,
        model: str,
        version_or_label: SupportsIndex | str | None = None,
        *,
        observation_space: gym.Space | None = None,
        timeout: float = 10.0,
        retries: int = 4,
        backoff: float = 0.1,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https", "grpc", "grpcs"} or not parts.hostname:
            raise ValueError(
                "url must begin with http://, https://, grpc:// or grpcs:// and name a host, got "
                f"{url!r}."
            )
        if timeout <= 0 or retries < 0 or backoff < 0:
            raise ValueError(
                "timeout must be > 0, retries and backoff >= 0, got "
                f"{timeout}, {retries} and {backoff}."
            )
        self.observation_space = observation_space
        number, label = _number_and_label(version_or_label)
        waiting = (timeout, retries, backoff)
        self._connection: RestClient | GrpcClient = (
            RestClient(url, model, number, label, *waiting)
            if parts.scheme.startswith("http")
            else GrpcClient(parts.netloc, parts.scheme == "grpcs", model, number, label, *waiting)
        )
        self._specs: SignatureSpecs | None = None
        self._asking = threading.Lock()

    def __call__(self, observations: Any) -> Any:
        """The same as `act`."""
        return self.act(observations)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def act(self, observations: Any) -> Any:
        """The deterministic actions, [N, *A] or [*A], sendable to the environment."""
        return self._answer(DETERMINISTIC, observations)["actions"]

    def sample(self, observations: Any, seeds: Any) -> Sample:
        """Drawn actions; the same seeds always draw the same.

        Args:
            observations: [N, *O] or [*O].
            seeds: [N, 2] or [2], whole numbers of 32 bits.
        """
        outputs = self._answer(SAMPLE, observations, seeds)
        return Sample(outputs["actions"], outputs["raw_actions"], outputs["log_probs"])

    def distribution(self, observations: Any) -> dict[str, Any]:
        """The parameters of the action distribution by name, each [N, …] or […]."""
        return self._answer(DISTRIBUTION, observations)

    def value(self, observations: Any) -> Any:
        """The values of observations in raw reward units, [N] or a number."""
        return self._answer(VALUE, observations)["values"]

    def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str = DETERMINISTIC
    ) -> Prediction:
        """Runs any signature with its inputs by name, as they are; says which version answered.

        Args:
            inputs: by name, each [N, ...], in the signature's dtypes.
            signature: its name.
        """
        return self._connection.predict(signature, inputs, self.signatures())

    def signatures(self) -> SignatureSpecs:
        """What the model offers: name to its inputs and outputs."""
        with self._asking:
            if self._specs is None:
                self._specs = self._connection.signatures()
            return self._specs

    def status(self) -> get_model_status_pb2.GetModelStatusResponse:
        """What the server says of the model's versions."""
        return self._connection.status()

    def close(self) -> None:
        """Closes the connections; the client must not be used any more."""
        self._connection.close()

    def _answer(self, signature: str, observations: Any, seeds: Any = None) -> dict[str, Any]:
        known = self.signatures()
        if signature not in known:
            raise ValueError(
                f"the model has no signature {signature!r}, only {', '.join(sorted(known))}."
            )
        _check_outputs(signature, known[signature].outputs)
        inputs, single = policy_inputs(
            self.observation_space, known[signature].inputs, observations
        )
        self._check_inputs(inputs, known[signature].inputs)
        if signature == SAMPLE:
            inputs["seeds"] = checked_seeds(seeds, len(next(iter(inputs.values()))), single)
        outputs = self.predict(inputs, signature).outputs
        return {name: value[0] for name, value in outputs.items()} if single else outputs

    @staticmethod
    def _check_inputs(inputs: dict[str, np.ndarray], specs: Mapping[str, Any]) -> None:
        """Widths of floats may differ between a training environment and this one."""
        names = set(specs) - {"seeds"}
        if set(inputs) != names:
            raise ValueError(f"the model takes {sorted(names)}, got {sorted(inputs)}.")
        for name, value in inputs.items():
            if not specs[name].shape.is_compatible_with(value.shape):
                raise ValueError(
                    f"{name} must have shape {specs[name].shape}, got {list(value.shape)}."
                )
            inputs[name] = checked_array(name, value, specs[name].dtype.as_numpy_dtype)


def _number_and_label(
    version_or_label: SupportsIndex | str | None,
) -> tuple[int | None, str | None]:
    if version_or_label is None or isinstance(version_or_label, str):
        return None, version_or_label
    try:
        return operator.index(version_or_label), None
    except TypeError:
        raise ValueError(
            "version_or_label must be a whole number, the text of a label, or None, got "
            f"{version_or_label!r}."
        ) from None


def _check_outputs(signature: str, outputs: Collection[str]) -> None:
    missing = _OUTPUTS.get(signature, frozenset()) - set(outputs)
    if missing:
        raise ValueError(
            f"the model is no policy: its signature {signature!r} has no output "
            f"{', '.join(sorted(missing))}, only {', '.join(sorted(outputs))}."
        )
