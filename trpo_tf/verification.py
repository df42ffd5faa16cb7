"""Proof that a served model works, before anything relies on it.

The graph is searched for what no server can run; then a fresh process that can import neither this
library nor Keras, tf_keras or TensorFlow Probability loads the model into a session, as TensorFlow
Serving does, and replays its warm-up requests, beside which the exporter kept the policy's own
answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trpo_tf import saved_graph
from trpo_tf.graph_checks import check_servable
from trpo_tf.interruption import workers_ignore_ctrl_c

_SCRIPT = Path(__file__).with_name("session_check.py")
_TIMEOUT_SECONDS = 600
_DETERMINISTIC = "serving_default"


class Failure(NamedTuple):
    """What one check found.

    Attributes:
        check: `graph` (ops, XLA, random ops), `batch` (a dimension for rows), `load`, `warm-up`
            (its requests), `run`, `answers` (beside the policy's own), `rows` (depend on each
            other) or `finite`.
        signature: on which it was found; empty if it concerns the whole model.
        difference: what was found and what was expected.
    """

    check: str
    signature: str
    difference: str

    def __str__(self) -> str:
        where = f"signature {self.signature!r}" if self.signature else "the model"
        return f"check {self.check!r} on {where}: {self.difference}"


class VerificationError(ValueError):
    """A served model failed its checks.

    Attributes:
        failures: all that were found, at least one.
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(map(str, failures)))


def verify_version(version_dir: Path) -> None:
    """Checks one version of a served model; returns if all is well.

    1. `graph`, `batch`: nothing that a signature reaches is compiled by XLA, is a Python function
       or keeps a random state; `serving_default` draws nothing; every input and output has a
       leading batch dimension of unknown size.
    2. In the fresh process: it loads; every signature answers the warm-up requests, of at least two
       batch sizes; the answers have a row for each row, hold no NaN and equal the recorded ones of
       the policy (where the exporter recorded them) to 1e-5 of the largest; each row's
       answer is the same alone, among others and in the reversed order; NaN is refused.

    Args:
        version_dir: the directory that holds `saved_model.pb`.

    Raises:
        VerificationError: naming each check that failed, its signature and the difference.
        OSError: if the model cannot be read.
        ValueError: if it is no SavedModel.
    """
    failures = list(_graph_failures(saved_graph.read_meta_graph(version_dir)))
    # What no server can run might do anything in a session.
    failures = failures or _session_failures(version_dir)
    if failures:
        raise VerificationError(failures)


def _graph_failures(meta_graph: Any) -> Iterator[Failure]:
    for name, signature in saved_graph.signatures(meta_graph).items():
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for key, info in tensors.items():
                sizes = [dimension.size for dimension in info.tensor_shape.dim]
                if info.tensor_shape.unknown_rank or sizes[:1] != [-1]:
                    shape = "unknown" if info.tensor_shape.unknown_rank else str(sizes)
                    yield Failure(
                        "batch",
                        name,
                        f"{kind} {key!r} has shape {shape}, expected a leading dimension of "
                        "unknown size (-1)",
                    )
        try:
            graph = saved_graph.signature_graph(meta_graph.graph_def, signature)
            check_servable(name, graph, draws=name != _DETERMINISTIC)
        except ValueError as error:
            yield Failure("graph", name, str(error))


def _session_failures(version_dir: Path) -> list[Failure]:
    with workers_ignore_ctrl_c():
        # -P: the directory of the script holds modules with the names of Python's own.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(_SCRIPT), str(version_dir)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return [Failure("run", "", f"the process has not ended after {_TIMEOUT_SECONDS} s")]
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        lines = errors.strip().splitlines() or ["nothing was printed"]
        return [Failure("run", "", f"the process ended with {process.returncode}: {lines[-1]}")]
    return [Failure(**failure) for failure in json.loads(output.splitlines()[-1])]
