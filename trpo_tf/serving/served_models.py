"""Which versions of which models take requests, and how that changes without losing one."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf.model_versions import whole_versions
from trpo_tf.serving.served_version import ServedVersion
from trpo_tf.serving.status_codes import ServingError

_State = get_model_status_pb2.ModelVersionStatus
# Those that say what is wrong without their kind.
_LOADING_ERRORS = (OSError, RuntimeError, ValueError, tf.errors.OpError, ServingError)


class _Slot:
    """A version's place in the table: its state, and how many requests are inside of it."""

    def __init__(self) -> None:
        self.state = _State.LOADING
        self.error = ""
        self.served: ServedVersion | None = None
        self.users = 0


class _Model:
    def __init__(self) -> None:
        self.slots: dict[int, _Slot] = {}
        self.labels: dict[str, int] = {}


class ServedModels:
    """The table of models; thread-safe. Variables: those of the loaded versions.

    Args:
        load: a version's directory to the loaded version.
    """

    def __init__(self, load: Callable[[Path], ServedVersion]) -> None:
        self._load = load
        self._models: dict[str, _Model] = {}
        self._config = model_server_config_pb2.ModelServerConfig()
        self._changed = threading.Condition()
        self._applying = threading.Lock()

    def apply(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Brings the table to what a model config says.

        New versions are loaded and answer their warm-up requests before they take traffic; then
        labels move; then what is wanted no longer gets no new requests, finishes those it has, and
        is unloaded. A version that fails to load never takes traffic, is not tried again while it
        is wanted, and keeps the versions before it loaded. A version that is not there yet is
        waited for.

        An empty config changes nothing, as in TensorFlow Serving.

        Raises:
            ServingError: INVALID_ARGUMENT for a config without names or paths, or with a name
                twice: nothing changes; FAILED_PRECONDITION for a label to a version that is not
                available: the model's labels stay as they are.
        """
        _check_config(config)
        if config.WhichOneof("config") is None:
            return
        with self._applying:
            self._config = config
            self._bring_about()

    def look_again(self) -> None:
        """Applies the same config again: versions may have come to the models' directories.

        Raises:
            ServingError: FAILED_PRECONDITION as `apply`.
        """
        with self._applying:
            self._bring_about()

    @contextlib.contextmanager
    def use(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Iterator[tuple[int, ServedVersion]]:
        """Holds a version for one request: it is not unloaded meanwhile.

        Args:
            name: of the model.
            version: its number; None and no label: the newest that is available.
            label: of the version.

        Raises:
            ServingError: NOT_FOUND; INVALID_ARGUMENT for a label that there is not.
        """
        with self._changed:
            number, slot = self._find(name, version, label)
            slot.users += 1
        try:
            assert slot.served is not None
            yield number, slot.served
        finally:
            with self._changed:
                slot.users -= 1
                self._changed.notify_all()

    def status(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """What is known of the versions of a model, the newest first.

        Raises:
            ServingError: as `use`.
        """
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._changed:
            if label is not None:
                version = self._number(name, label)
            slots = self._known(name).slots
            numbers = sorted(slots, reverse=True) if version is None else [version]
            for number in numbers:
                if number not in slots:
                    raise _not_found(f"Could not find version {number} of model {name[:100]}")
                entry = response.model_version_status.add(version=number, state=slots[number].state)
                entry.status.error_code = grpc.StatusCode.OK.value[0]
                if slots[number].error:
                    entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                    entry.status.error_message = slots[number].error
        return response

    def close(self) -> None:
        """Unloads everything, after the requests that are inside."""
        with self._applying:
            self._config = model_server_config_pb2.ModelServerConfig()
            self._bring_about()

    def _bring_about(self) -> None:
        wanted = {model.name: model for model in self._config.model_config_list.config}
        refused = [text for model in wanted.values() for text in self._apply_model(model)]
        for name in set(self._models) - set(wanted):
            self._models[name].labels = {}
            self._unload(name, set(self._models[name].slots))
            with self._changed:
                del self._models[name]
        if refused:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, "; ".join(refused))

    def _apply_model(self, config: Any) -> list[str]:
        with self._changed:
            model = self._models.setdefault(config.name, _Model())
        wanted = _wanted_versions(config)
        if wanted is None:
            wanted = dict.fromkeys(model.slots)
        for number, path in wanted.items():
            if number not in model.slots and path is not None:
                self._bring_in(model, number, path)
        available = {n for n, slot in model.slots.items() if slot.state == _State.AVAILABLE}
        lost = {label: n for label, n in config.version_labels.items() if n not in available}
        keep = set(wanted)
        if lost or not set(wanted) <= available:
            keep |= available
        if not lost:
            with self._changed:
                model.labels = dict(config.version_labels)
        self._unload(config.name, set(model.slots) - keep)
        return [
            f"Request to assign label {label!r} to version {number} of model {config.name}, which "
            "is not currently available for inference"
            for label, number in lost.items()
        ]

    def _bring_in(self, model: _Model, number: int, path: Path) -> None:
        slot = _Slot()
        with self._changed:
            model.slots[number] = slot
        served = None
        try:
            served = self._load(path)
            served.warm_up()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told in the status)
            if served is not None:
                served.close()
            with self._changed:
                slot.state, slot.error = _State.END, _reason(error)
            return
        with self._changed:
            slot.served, slot.state = served, _State.AVAILABLE

    def _unload(self, name: str, numbers: set[int]) -> None:
        model = self._models[name]
        for number in numbers:
            slot = model.slots[number]
            with self._changed:
                slot.state = _State.UNLOADING
                while slot.users:
                    self._changed.wait()
                del model.slots[number]
            if slot.served is not None:
                slot.served.close()

    def _known(self, name: str) -> _Model:
        if name not in self._models:
            raise _not_found(f"Servable not found for request: Latest({name[:100]})")
        return self._models[name]

    def _number(self, name: str, label: str) -> int:
        labels = self._models[name].labels if name in self._models else {}
        if label not in labels:
            # TensorFlow Serving's code for this is not NOT_FOUND, not even of an unknown model.
            raise _invalid(f"Unrecognized servable version label: {label[:100]}")
        return labels[label]

    def _find(self, name: str, version: int | None, label: str | None) -> tuple[int, _Slot]:
        if label is not None:
            version = self._number(name, label)
        slots = self._known(name).slots
        available = [n for n, slot in slots.items() if slot.state == _State.AVAILABLE]
        number = max(available, default=None) if version is None else version
        if number not in available or number is None:
            which = "Latest" if version is None else f"Specific version {version}"
            raise _not_found(f"Servable not found for request: {which} of {name[:100]}")
        return number, slots[number]


def _check_config(config: model_server_config_pb2.ModelServerConfig) -> None:
    if config.WhichOneof("config") == "custom_model_config":
        raise _invalid("only a model_config_list can be served")
    models = config.model_config_list.config
    if any(not model.name or not model.base_path for model in models):
        raise _invalid("every model needs a name and a base_path")
    twice = [name for name, count in Counter(model.name for model in models).items() if count > 1]
    if twice:
        raise _invalid(f"models are listed more than once: {', '.join(twice)}")


def _wanted_versions(config: Any) -> dict[int, Path | None] | None:
    """Number to directory of what the version policy asks for; None for one that is not there.

    None altogether if what it asks for cannot be told: a file system may be away for a moment.
    """
    base = Path(config.base_path)
    found = {int(path.name): path for path in whole_versions(base)}
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific":
        return {number: found.get(number) for number in policy.specific.versions}
    if not base.is_dir():
        return None
    if kind == "all":
        return dict(found)
    count = policy.latest.num_versions or 1
    return {number: found[number] for number in sorted(found)[-count:]}


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, _LOADING_ERRORS) else f"{type(error).__name__}: {text}"


def _not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
