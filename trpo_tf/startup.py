"""What has to happen before TensorFlow is imported: the backend check, and quiet.

TensorFlow prints a screenful when it starts, written by C++ code that Python's logging never sees,
in two parts: lines written while its libraries are loaded, before any log level is read, and lines
that `TF_CPP_MIN_LOG_LEVEL` governs. The first part is filtered out of the process's standard error
while the import runs, the second is turned off by the variable. Setting `TRPO_TF_VERBOSE=1` shows
everything, and so does a `TF_CPP_MIN_LOG_LEVEL` below 3 that is set outside.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# On a machine without a GPU level 2 still shows "failed call to cuInit" as an error. What really
# fails reaches Python as an exception whatever the level.
_QUIET_LEVEL = "3"

_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} "  # information and warnings of TensorFlow's logging
    rb"|To enable the following instructions: "  # second line of such a message
    rb"|INFO: "  # information of LiteRT's logging
)
_LITERT_WARNING = r"\s*Warning: tf\.lite\.Interpreter is deprecated"

# Standard error belongs to the whole process: two threads that redirect it in turn would restore
# each other's redirection.
_redirection = threading.RLock()


def start() -> None:
    """Checks Keras' backend, then imports TensorFlow without its chatter.

    The package calls this first of all; calling it again does nothing more.

    Raises:
        ImportError: Keras is configured for another backend than TensorFlow.

    >>> start()
    """
    check_keras_backend()
    if not is_verbose():
        os.environ[_LOG_LEVEL] = _QUIET_LEVEL
    if "tensorflow" not in sys.modules:
        with without_chatter():
            importlib.import_module("tensorflow")


def is_verbose() -> bool:
    """Whether TensorFlow's own messages are wanted.

    >>> is_verbose()
    False
    """
    if os.environ.get("TRPO_TF_VERBOSE", "") not in {"", "0"}:
        return True
    # The quiet level itself is inherited by worker processes, so it must not read as a wish.
    return os.environ.get(_LOG_LEVEL, _QUIET_LEVEL) != _QUIET_LEVEL


def check_keras_backend() -> None:
    """Refuses a Keras that is configured for JAX, PyTorch or OpenVINO, without importing any.

    Raises:
        ImportError: Keras is, or would be, running on another backend than TensorFlow.

    >>> check_keras_backend()
    """
    backend, source = _configured_backend()
    if backend != "tensorflow":
        # With the package's name in the error, `python -m trpo_tf.train` prints one line instead
        # of a traceback.
        raise ImportError(
            f"trpo_tf needs Keras on its TensorFlow backend, but {source} says {backend!r}. "
            "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported.",
            name="trpo_tf",
        )


@contextlib.contextmanager
def without_chatter(failure_is_news: bool = True) -> Iterator[None]:
    """Keeps the messages of TensorFlow's and LiteRT's C++ code off standard error.

    Lines that are not recognised as chatter are written after the body has ended; if the body
    raises, all of them are. Does nothing if the messages are wanted (see `is_verbose`).

    Args:
        failure_is_news: False for an attempt that has another way when it fails: if the body
            raises, nothing is written.

    >>> with without_chatter():
    ...     pass
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_redirection)
        if not is_verbose():
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=_LITERT_WARNING, category=UserWarning)
            stack.enter_context(_filtered_stderr(failure_is_news))
        yield


@contextlib.contextmanager
def _filtered_stderr(failure_is_news: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stderr = stack.enter_context(os.fdopen(os.dup(2), "wb", buffering=0))
            captured = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # No standard error, or nowhere to keep it meanwhile: nothing is filtered.
            yield
            return
        stack.enter_context(_crash_reports_to(stderr))
        try:
            with _redirected(captured, back_to=stderr):
                yield
        except BaseException:
            if failure_is_news:
                stderr.write(_written(captured))
            raise
        lines = _written(captured).splitlines(keepends=True)
        stderr.write(b"".join(line for line in lines if not _CHATTER.match(line)))


@contextlib.contextmanager
def _redirected(captured: BinaryIO, back_to: BinaryIO) -> Iterator[None]:
    _flush_stderr()
    os.dup2(captured.fileno(), 2)
    try:
        yield
    finally:
        _flush_stderr()
        os.dup2(back_to.fileno(), 2)


@contextlib.contextmanager
def _crash_reports_to(stderr: BinaryIO) -> Iterator[None]:
    # TensorFlow aborts the process on a processor that lacks its instructions; without this, what
    # it said would disappear with the captured file and the process would end without a word.
    if faulthandler.is_enabled():
        yield
        return
    faulthandler.enable(stderr)
    try:
        yield
    finally:
        faulthandler.disable()


def _written(captured: BinaryIO) -> bytes:
    captured.seek(0)
    return captured.read()


def _flush_stderr() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()


def _configured_backend() -> tuple[str, str]:
    """The backend's name and who says so, by Keras' own rules (keras/src/backend/config.py)."""
    keras = sys.modules.get("keras")
    if keras is not None:
        return keras.config.backend(), "the Keras that is already imported"
    from_environment = os.environ.get("KERAS_BACKEND")
    if from_environment:
        return from_environment, "the environment variable KERAS_BACKEND"
    path = _keras_settings()
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError):
        settings = {}
    return settings.get("backend", "tensorflow"), str(path)


def _keras_settings() -> Path:
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser() / "keras.json"
    home = Path("~").expanduser()
    # Keras' own fallback, repeated here, where it is only read.
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras/keras.json"  # noqa: S108
