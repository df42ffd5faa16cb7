"""Ray, found or started, and how much room there is in its cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

_CONNECT_SECONDS = 10.0
# Ray takes 127.0.0.1 for its own address if this is 0 when it is imported, whatever the system.
_LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def import_ray() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed; says how to.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'The Ray sampler needs Ray, which is not installed; run pip install "trpo_tf[ray]".'
        ) from error
    return ray


def connect(address: str | None) -> Callable[[], None]:
    """Connects this process to a cluster.

    A connection that the process has already is used. A cluster that is started here has no
    dashboard, listens on the loopback interface alone (if nobody has imported Ray before), and
    reports nothing to anybody.

    Args:
        address: `host:port` of a cluster's head, "auto" for the one that this machine belongs to;
            None: starts one of this machine alone.

    Returns:
        What ends the connection, and a cluster that was started here; does nothing to a connection
        that was there before.

    Raises:
        ImportError: Ray is not installed.
        ValueError: an address of another form.
        ConnectionError: nothing answers there.
    """
    if address is None:
        os.environ.setdefault(_LOOPBACK_SWITCH, "0")
    ray = import_ray()
    if ray.is_initialized():
        return lambda: None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own choice, 15, starves workers beside a busy learner: importing TensorFlow took 76 s.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Otherwise workers warn of a change to come in how they hide accelerators.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init("local", include_dashboard=False, **quiet)
    else:
        _check_address(address)
        try:
            ray.init(address, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            told = _other_versions(address, error) or _unreachable(address, error)
            raise ConnectionError(told) from error
    return ray.shutdown


def check_room(num_workers: int, worker_cpus: float) -> None:
    """Raises ValueError if the connected cluster can never hold that many workers at once."""
    needed, there = num_workers * worker_cpus, total_cpus()
    if needed > there:
        raise ValueError(
            f"{num_workers} workers of {worker_cpus:g} CPUs need {needed:g} CPUs, but the Ray "
            f"cluster has {there:g}. Take fewer workers, let more nodes join, or lower worker_cpus "
            "if the environments mostly wait."
        )


def total_cpus() -> float:
    """CPUs of all nodes of the connected cluster that are alive, used ones included."""
    return float(import_ray().cluster_resources().get("CPU", 0))


def _check_address(address: str) -> None:
    """Asks the address itself first: Ray would retry for a minute, and say it in many lines."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or "//" in address or not port.isdigit():
        raise ValueError(
            f"A Ray address must be host:port of the cluster's head or auto, got {address!r}."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(_unreachable(address, error)) from error


def _other_versions(address: str, error: Exception) -> str | None:
    """What Ray says in several lines when this process has another Ray or Python; else None."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or not lines[0].startswith("Version mismatch"):
        return None
    return (
        f"The Ray cluster at {address} does not fit this process. {' '.join(lines)} Install the "
        "same Ray and Python, to the last digit, on both sides."
    )


def _unreachable(address: str, error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(".")
    return (
        f"No Ray cluster can be reached at {address} ({reason}). Start one with "
        "`ray start --head --port=6379`, set RAY_AUTH_MODE=token if it asks for a token, or leave "
        "the address out to use this machine alone."
    )
