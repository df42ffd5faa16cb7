"""The whole server on loopback: roll-outs under load, episodes, configs that change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import serving_models
import urllib3
from roll_outs import Load, roll_out_and_back
from serving_models import ROWS, config_of

from trpo_tf.evaluation import deterministic_actor, evaluate
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.serving import Client, model_config
from trpo_tf.serving.local_server import LocalServer
from trpo_tf.serving.served_version import Batching

pytest.importorskip("waitress")

POLL_SECONDS = 0.02


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 2)


def urls(server: LocalServer) -> list[str]:
    return [f"http://127.0.0.1:{server.rest_port}", f"grpc://127.0.0.1:{server.grpc_port}"]


@pytest.mark.parametrize("batching", [None, Batching()], ids=["alone", "batched"])
def test_roll_outs_and_roll_backs_lose_no_request(
    base: Path, tmp_path: Path, batching: Batching | None
) -> None:
    path = tmp_path / "models.config"
    model_config.write_config(path, config_of(base, [1, 2], stable=1, canary=2))

    def move(change) -> None:
        config = model_config.read_config(path)
        change(config, "m")
        model_config.write_config(path, config)

    server = LocalServer(
        lambda: model_config.read_config(path), batching=batching, poll_seconds=POLL_SECONDS
    )
    load = Load(urls(server) * 2, "m")
    try:
        commanded = roll_out_and_back(
            load,
            times=3,
            promote=lambda: move(model_config.promote),
            roll_back=lambda: move(model_config.roll_back),
        )
    finally:
        load.end()
        server.close()
    assert load.orders() == [commanded] * 4


def test_versions_are_loaded_and_unloaded_under_load(base: Path, tmp_path: Path) -> None:
    """As above, but only the version that stable leads to is served at all."""
    path = tmp_path / "models.config"
    model_config.write_config(path, config_of(base, [1], stable=1))
    server = LocalServer(lambda: model_config.read_config(path), poll_seconds=POLL_SECONDS)
    load = Load(urls(server) * 2, "m")
    try:
        commanded = roll_out_and_back(
            load,
            times=3,
            promote=lambda: model_config.write_config(path, config_of(base, [2], stable=2)),
            roll_back=lambda: model_config.write_config(path, config_of(base, [1], stable=1)),
        )
    finally:
        load.end()
        server.close()
    assert load.orders() == [commanded] * 4


@pytest.fixture(scope="module", params=["CartPole-v1", "Pendulum-v1"])
def policy_and_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator:
    env = gym.make(request.param)
    policy = make_policy(env.observation_space, env.action_space, seed=1)
    for variable in policy.trainable_variables[-2:]:
        variable.assign(variable * 50)
    base = tmp_path_factory.mktemp("models") / "policy"
    export_policy(policy, base, verify=False)
    config = config_of(base, [1])
    server = LocalServer(lambda: config, batching=Batching())
    yield request.param, policy, server
    server.close()


@pytest.mark.parametrize("protocol", [0, 1], ids=["rest", "grpc"])
def test_whole_episodes_are_those_of_the_policy_in_memory(policy_and_server, protocol) -> None:
    env_id, policy, server = policy_and_server
    own = deterministic_actor(policy)
    compared = []
    with Client(
        urls(server)[protocol], "policy", observation_space=policy.observation_space
    ) as client:

        def act(observations: np.ndarray) -> np.ndarray:
            actions = client.act(observations)
            expected = own(observations)
            assert actions.dtype == expected.dtype
            np.testing.assert_allclose(actions, expected, atol=1e-5)
            compared.append(len(actions))
            return actions

        stats = evaluate(act, lambda: gym.make(env_id), episodes=3, num_envs=2)
    assert len(compared) >= stats.lengths.max()


def test_a_config_that_cannot_be_read_is_told_and_the_old_one_serves(
    base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "models.config"
    model_config.write_config(path, config_of(base, [1], stable=1))
    told = threading.Event()
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        told.set()

    server = LocalServer(lambda: model_config.read_config(path), poll_seconds=POLL_SECONDS, log=log)
    try:
        path.write_text("nonsense")
        told.wait()
        assert "models.config is no model config" in lines[0]
        with Client(urls(server)[0], "m", "stable") as client:
            actions = client.act(ROWS)
        np.testing.assert_allclose(actions, serving_models.expected_actions(1), atol=1e-5)
    finally:
        server.close()


def test_bodies_beyond_measure_and_no_http_leave_it_unharmed(base: Path) -> None:
    config = config_of(base, [1])
    server = LocalServer(lambda: config)
    try:
        url = urls(server)[0] + "/v1/models/m:predict"
        big = urllib3.request("POST", url, body=b"x" * 10_000_000)
        assert big.status == 400
        assert "JSON Parse error" in big.json()["error"]
        connection = urllib3.util.connection.create_connection(("127.0.0.1", server.rest_port))
        connection.sendall(b"\x00\x01nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 400")
        connection.close()
        good = urllib3.request("POST", url, json={"instances": ROWS.tolist()})
        np.testing.assert_allclose(good.json()["predictions"], serving_models.expected_actions(1))
    finally:
        server.close()
