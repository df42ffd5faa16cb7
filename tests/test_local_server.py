"""The whole server on loopback: roll-outs under load, episodes, configs that change."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from trpo_tf.serving import Client, ServingError, model_config
from trpo_tf.serving.local_server import LocalServer
from trpo_tf.serving.served_version import Batching, ServedVersion

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


def test_an_error_that_nobody_foresaw_is_told_and_the_config_is_read_on(base: Path) -> None:
    config = config_of(base, [1])
    failures = [KeyError("x"), MemoryError()]
    told: list[str] = []
    read_again = threading.Event()
    started = threading.Event()

    def read():
        if started.is_set():
            if failures:
                raise failures.pop(0)
            read_again.set()
        return config

    server = LocalServer(read, poll_seconds=POLL_SECONDS, log=told.append)
    try:
        started.set()
        assert read_again.wait(30)
    finally:
        server.close()
    assert told == [
        "the model config was not applied: KeyError('x')",
        "the model config was not applied: MemoryError()",
    ]


def answers(server: LocalServer) -> None:
    for url in (
        f"http://{server.host}:{server.rest_port}",
        f"grpc://{server.host}:{server.grpc_port}",
    ):
        with Client(url, "m") as client:
            np.testing.assert_allclose(client.act(ROWS), serving_models.expected_actions(1))


def test_of_a_host_with_two_addresses_the_first_is_taken(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def dual_stack(host: str, port: Any, *arguments: Any, **named: Any) -> list[Any]:
        if host != "localhost":
            return look_up(host, port, *arguments, **named)
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, int(port), *rest))
            for family, address, *rest in (
                (socket.AF_INET, "127.0.0.1"),
                (socket.AF_INET6, "::1", 0, 0),
            )
        ]

    monkeypatch.setattr(socket, "getaddrinfo", dual_stack)
    config = config_of(base, [1])
    with contextlib.closing(LocalServer(lambda: config, host="localhost")) as server:
        assert server.host == "127.0.0.1"
        answers(server)


def test_an_address_of_ipv6(base: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    config = config_of(base, [1])
    with contextlib.closing(LocalServer(lambda: config, host="::1")) as server:
        assert server.host == "[::1]"
        answers(server)


def test_a_server_that_cannot_start_leaves_nothing_open(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []
    close = ServedVersion.close

    def count(version: ServedVersion) -> None:
        closed.append(version.path)
        close(version)

    monkeypatch.setattr(ServedVersion, "close", count)
    config = config_of(base, [1])
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rest_port = free.getsockname()[1]
        free.close()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError):
            LocalServer(lambda: config, rest_port=rest_port, grpc_port=port)
        # Free again.
        socket.create_server(("127.0.0.1", rest_port)).close()
        with pytest.raises(OSError, match=r"in use .*127\.0\.0\.1"):
            LocalServer(lambda: config, rest_port=port)
    with pytest.raises(ServingError, match="FAILED_PRECONDITION"):
        LocalServer(lambda: config_of(base, [1], stable=9))
    assert closed == [base / "1"] * 3
    assert threading.active_count() == before
