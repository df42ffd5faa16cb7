"""Finding, starting and leaving a Ray cluster, and everything that can be wrong with one."""

from __future__ import annotations

import socket
import sys

import pytest

from trpo_tf.samplers import ray_cluster

ray = pytest.importorskip("ray")


@pytest.mark.parametrize("address", ["localhost", "ray://localhost:1", "host:port", "10.0.0.1:"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match=r"host:port of the cluster's head or auto, got"):
        ray_cluster.connect(address)


def test_an_address_where_nothing_answers_is_named():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"No Ray cluster can be reached at {address}"):
            ray_cluster.connect(address)
    assert not ray.is_initialized()


def test_an_unknown_host_is_named():
    with pytest.raises(ConnectionError, match=r"reached at no-such-host\.invalid:6379"):
        ray_cluster.connect("no-such-host.invalid:6379")


def test_auto_without_a_cluster_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConnectionError, match="No Ray cluster can be reached at auto"):
        ray_cluster.connect("auto")


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
