"""What every test shares: quiet TensorFlow on the CPU, fixed seeds, and a way to run commands."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# TensorFlow reads these when it is imported. Results must not depend on the machine's accelerator
# or on what the person who runs the tests has configured.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.pop("TRPO_TF_VERBOSE", None)

REPOSITORY = Path(__file__).resolve().parent.parent

# Tracing makes objects by the million, none of them garbage for long: looking for cycles at the
# usual pace, through all of TensorFlow each time, takes a seventh of the tests' time.
gc.set_threshold(50_000)

RunCli = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of exported policies come first: so one process makes most, and exports them once."""
    items.sort(key=lambda item: "exports" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """What has been imported by now is there to stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def garbage_of_a_module_is_collected() -> Iterator[None]:
    """Graphs are in cycles, and hold compiled programs."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Each test starts from the same seeds, whatever ran before it in the process."""
    random.seed(0)
    # Tests that only read source text should not pay for importing the big libraries.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's top directory."""
    return REPOSITORY


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Kind of policy to `exported_policies.Exported`, written once for all tests of a process."""
    # Not at the top: tests that only read source text do without the big libraries.
    from exported_policies import export_all

    return export_all(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Runs `python -m trpo_tf.<command> <arguments>` in a process of its own, in tmp_path.

    `run_cli("train", "--env=CartPole-v1", "--total_steps=4096")` returns the CompletedProcess with
    its text; `environment={"NAME": "value" | None}` sets or removes variables, `timeout` is in
    seconds.
    """

    def run(
        command: str,
        *arguments: str,
        environment: Mapping[str, str | None] | None = None,
        timeout: float = 300.0,
    ) -> subprocess.CompletedProcess[str]:
        return run_python(
            "-m",
            f"trpo_tf.{command}",
            *arguments,
            directory=tmp_path,
            environment=environment,
            timeout=timeout,
        )

    return run


@pytest.fixture
def run_code(tmp_path: Path) -> RunCli:
    """Runs Python source in a process of its own: `run_code("import trpo_tf")`, as `run_cli`."""

    def run(
        source: str,
        environment: Mapping[str, str | None] | None = None,
        timeout: float = 300.0,
    ) -> subprocess.CompletedProcess[str]:
        return run_python(
            "-c", source, directory=tmp_path, environment=environment, timeout=timeout
        )

    return run


def run_python(
    *arguments: str,
    directory: Path,
    environment: Mapping[str, str | None] | None,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter with the checkout importable and the log level left to the package."""
    variables: dict[str, str | None] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            path for path in (str(REPOSITORY), os.environ.get("PYTHONPATH")) if path
        ),
        "TF_CPP_MIN_LOG_LEVEL": None,
        **(environment or {}),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def ray_cluster_of_four_cpus() -> Iterator[None]:
    """A Ray cluster of this machine, shared by the tests of a process, whose workers see them."""
    ray = pytest.importorskip("ray")
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Workers are starved otherwise where other tests run beside these.
        patch.setenv("RAY_worker_niceness", "0")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
