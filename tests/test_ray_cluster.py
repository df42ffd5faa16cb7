"""Finding, starting and leaving a Ray cluster, and everything that can be wrong with one."""

from __future__ import annotations

import socket
import sys

import pytest

from trpo_tf.samplers import ray_cluster

ray = pytest.importorskip("ray")


UNREACHABLE = """
import ray
from trpo_tf.samplers import ray_cluster
try:
    ray_cluster.connect("{address}")
except ConnectionError as error:
    print(error)
print(ray.is_initialized())
"""


@pytest.fixture
def unconnected(monkeypatch):
    """Another test of this process may have connected it; a connection that is there is used."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["localhost", "ray://localhost:1", "host:port", "10.0.0.1:"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match=r"host:port of the cluster's head or auto, got"):
        ray_cluster.connect(address)


def test_an_address_where_nothing_answers_is_named(run_code):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = run_code(UNREACHABLE.format(address=address))
    assert f"No Ray cluster can be reached at {address}" in done.stdout
    assert "False" in done.stdout


@pytest.mark.usefixtures("unconnected")
def test_an_unknown_host_is_named():
    with pytest.raises(ConnectionError, match=r"reached at no-such-host\.invalid:6379"):
        ray_cluster.connect("no-such-host.invalid:6379")


@pytest.mark.usefixtures("unconnected")
def test_auto_without_a_cluster_says_so(monkeypatch):
    # Another process of the tests may run a cluster that "auto" would find.
    def find_nothing(address, **settings):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", find_nothing)
    with pytest.raises(ConnectionError, match="No Ray cluster can be reached at auto"):
        ray_cluster.connect("auto")


@pytest.mark.usefixtures("unconnected")
def test_without_ray_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[ray\]"'):
        ray_cluster.connect(None)


def test_a_cluster_is_started_used_and_left(run_code):
    source = """
import ray
from trpo_tf.samplers import ray_cluster
leave = ray_cluster.connect(None)
assert ray.is_initialized()
assert ray_cluster.total_cpus() >= 1
print("node", ray.nodes()[0]["NodeManagerAddress"])
# Who finds a connection leaves it to whoever made it.
ray_cluster.connect(None)()
assert ray.is_initialized()
try:
    ray_cluster.check_room(1000, 1.5)
except ValueError as error:
    print(error)
leave()
assert not ray.is_initialized()
"""
    done = run_code(source)
    assert done.returncode == 0, done.stderr
    assert "node 127.0.0.1" in done.stdout
    assert "1000 workers of 1.5 CPUs need 1500 CPUs, but the Ray cluster has" in done.stdout


@pytest.mark.usefixtures("unconnected")
def test_another_version_is_told_with_both_versions(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n"
            "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.2\n"
        )

    monkeypatch.setattr(ray, "init", refuse)
    with (
        socket.create_server(("localhost", 0)) as head,
        pytest.raises(ConnectionError, match=r"not fit .* 3\.11\.9 .* 3\.11\.2 Install") as caught,
    ):
        ray_cluster.connect(f"localhost:{head.getsockname()[1]}")
    assert "reached" not in str(caught.value)
