"""A policy on a server beside the same policy here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import serving_models
import tensorflow as tf
import zoo

from trpo_tf.loaded_policy import load_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.serving import Client, ServingError
from trpo_tf.serving.local_server import LocalServer
from trpo_tf.serving.wire import Specs
from trpo_tf.value_function import make_value_function

pytest.importorskip("waitress")

KINDS = ["gaussian", "dict_observations", "tuple_observations", "image", "multi_discrete"]
SEEDS = np.arange(8, dtype=np.int32).reshape(4, 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, Path]]:
    base = tmp_path_factory.mktemp("models")
    config = serving_models.config_of(base, [])
    del config.model_config_list.config[:]
    for kind in KINDS:
        policy = zoo.make(kind)
        value_function = make_value_function(policy.observation_space, hidden_sizes=(4,))
        export_policy(policy, base / kind, value_function=value_function, verify=False)
        config.MergeFrom(serving_models.config_of(base / kind, [1], stable=1))
    served = LocalServer(lambda: config)
    yield served, base
    served.close()


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: tuple[LocalServer, Path]) -> str:
    ports = {"http": server[0].rest_port, "grpc": server[0].grpc_port}
    return f"{request.param}://127.0.0.1:{ports[request.param]}"


def rows_of(kind: str) -> Any:
    observations = zoo.draw_observations(kind, 4, seed=0)
    return tf.nest.map_structure(np.asarray, observations)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_answered_as_by_the_loaded_model(
    server: tuple[LocalServer, Path], url: str, kind: str
) -> None:
    own, rows = load_policy(server[1] / kind), rows_of(kind)
    first = tf.nest.map_structure(lambda value: value[0], rows)
    with Client(url, kind, "stable", observation_space=own.observation_space) as client:
        pairs = [
            (client.act(rows), own.act(rows)),
            (client(first), own(first)),
            (client.value(rows), own.value(rows)),
            *zip(client.sample(rows, SEEDS), own.sample(rows, SEEDS), strict=True),
            *zip(client.sample(first, SEEDS[0]), own.sample(first, SEEDS[0]), strict=True),
        ]
        for name, value in own.distribution(rows).items():
            pairs.append((client.distribution(rows)[name], value))
    for got, want in pairs:
        assert np.shape(got) == np.shape(want)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_without_a_space_observations_go_by_the_names_of_the_inputs(
    server: tuple[LocalServer, Path], url: str
) -> None:
    rows = rows_of("dict_observations")
    named = {
        "position": rows["position"],
        "mode": rows["mode"],
        "nested_switches": rows["nested"]["switches"],
    }
    with Client(url, "dict_observations") as client:
        want = load_policy(server[1] / "dict_observations").act(rows)
        np.testing.assert_allclose(client.act(named), want, atol=1e-5)
        assert set(client.signatures()["value"].inputs) == set(named)
        with pytest.raises(ValueError, match="the model takes"):
            client.act({"position": rows["position"]})
    with Client(url, "gaussian") as client:
        assert client.act(rows_of("gaussian")).shape == (4, 2)
        with pytest.raises(ValueError, match=r"must have shape \(None, 3\), got \[4, 2\]"):
            client.act(np.zeros([4, 2]))


def test_another_space_than_the_model_s_is_refused_here(url: str) -> None:
    client = Client(url, "gaussian", observation_space=zoo.TUPLE)
    with client, pytest.raises(ValueError, match="the model takes"):
        client.act(rows_of("tuple_observations"))


def test_the_server_s_words_arrive(url: str) -> None:
    with Client(url, "gaussian") as client:
        with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: .* must be finite"):
            client.act(np.full([2, 3], np.nan))
        with pytest.raises(ServingError, match="signature key 'nope' not found"):
            client._connection.predict("nope", {}, client.signatures())
    for target, code in (
        (9, "NOT_FOUND"),
        (np.int64(9), "NOT_FOUND"),
        ("nope", "INVALID_ARGUMENT"),
    ):
        client = Client(url, "gaussian", target)
        with client, pytest.raises(ServingError, match=code):
            client.act(np.zeros(3))


def test_status(url: str) -> None:
    with Client(url, "gaussian") as client:
        [entry] = client.status().model_version_status
        assert (entry.version, entry.State.Name(entry.state)) == (1, "AVAILABLE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:8501"}, "url must begin with http://"),
        ({"url": "http://"}, "name a host"),
        ({"timeout": 0.0}, "timeout must be > 0"),
        ({"retries": -1}, "retries and backoff >= 0"),
        (
            {"version_or_label": 1.0},
            "must be a whole number, the text of a label, or None, got 1.0",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Client(**{"url": "http://localhost", "model": "m", **arguments})


def client_of_specs(inputs: Any, outputs: Any, **arguments: Any) -> Client:
    """A client that has asked already what the model takes."""
    client = Client("http://localhost:1", "m", **arguments)
    client._specs = {name: Specs(inputs, outputs) for name in ("serving_default", "value")}
    return client


def test_a_model_that_is_no_policy_says_so() -> None:
    spec = tf.TensorSpec([None], tf.float32)
    client = client_of_specs({"x": spec}, {"y": spec})
    with pytest.raises(ValueError, match="'serving_default' has no output actions, only y"):
        client.act([0.0])
    with pytest.raises(ValueError, match="'value' has no output values, only y"):
        client.value([0.0])


def test_floats_are_not_cut_to_whole_numbers() -> None:
    inputs = {"observations": tf.TensorSpec([None, 1], tf.uint8)}
    outputs = {"actions": tf.TensorSpec([None], tf.float32)}
    space = gym.spaces.Box(0, 1, (1,))
    for client in (
        client_of_specs(inputs, outputs, observation_space=space),
        client_of_specs(inputs, outputs),
    ):
        with pytest.raises(ValueError, match="observations must be of dtype uint8, got float"):
            client.act([[0.5]])
