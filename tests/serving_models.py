"""Small served models whose answers say which version gave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow_probability as tfp
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf.saved_model import export_policy

tfd = tfp.distributions

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (3,))
ACTIONS = gym.spaces.Box(-1000, 1000, (1,))
ROWS = np.float32([[0.5, 1, 2], [0.25, 3, 4]])


class Labelled(keras.Model):
    """Acts by its number plus the first entry of the observation."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = self.add_weight(shape=(), initializer=lambda *_, **__: number)

    def call(self, observations: Any) -> Any:
        return tfd.Independent(tfd.Normal(observations[:, :1] + self.number, 1.0), 1)


def export_versions(base: Path, count: int) -> Path:
    """Versions 1 to count; version v acts by 10 v + the observation's first entry."""
    for version in range(1, count + 1):
        export_policy(
            Labelled(10.0 * version),
            base,
            observation_space=OBSERVATIONS,
            action_space=ACTIONS,
            verify=False,
        )
    return base


def expected_actions(version: int, observations: np.ndarray = ROWS) -> np.ndarray:
    return observations[:, :1] + 10.0 * version


def config_of(
    base: Path, versions: list[int], **labels: int
) -> model_server_config_pb2.ModelServerConfig:
    """A config that serves these versions of one model."""
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(name=base.name, base_path=str(base))
    model.model_version_policy.specific.versions.extend(versions)
    for label, version in labels.items():
        model.version_labels[label] = version
    return config


def break_version(version: Path) -> None:
    """Leaves a model that a server loads and that then fails its warm-up requests."""
    (version / "variables" / "variables.data-00000-of-00001").write_bytes(b"")


def call_wsgi(
    application: Callable[..., Any], method: str, path: str, body: bytes = b""
) -> tuple[int, bytes]:
    """Calls a WSGI application without a network: status and body of the answer."""
    import io

    statuses: list[str] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    answer: Iterator[bytes] = application(environ, lambda status, headers: statuses.append(status))
    return int(statuses[0].split()[0]), b"".join(answer)
