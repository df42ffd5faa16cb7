"""Exported policies in OpenVINO, a runtime that shares no code with TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from exported_policies import KINDS, RELEASED, Exported, assert_same_answer, recorded_calls

# Without this, importing OpenVINO reports the import to its makers, from a fork of this process.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
openvino = pytest.importorskip("openvino", reason="openvino is not installed")

# It translates no op that sets a diagonal, of which this hand-written policy makes its factor; no
# policy of `make_policy` has one.
UNREADABLE = "full_gaussian"


def answer(version: Path, inputs: list[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The answers of `serving_default`."""
    # Some processors would be given bfloat16.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(version), "CPU", options)
    return [
        {port.get_any_name(): values for port, values in model(rows).items()} for rows in inputs
    ]


def assert_same_actions(version: Path) -> None:
    calls = [call for call in recorded_calls(version) if call.signature == "serving_default"]
    assert len(calls) == 2
    for outputs, call in zip(answer(version, [c.inputs for c in calls]), calls, strict=True):
        assert_same_answer(outputs, call)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != UNREADABLE])
def test_every_kind_acts_as_the_policy_did(exports: Mapping[str, Exported], kind: str) -> None:
    assert_same_actions(exports[kind].path)


@pytest.mark.parametrize("name", RELEASED)
def test_released_policies_act_as_they_did(name: str) -> None:
    assert_same_actions(RELEASED[name])


def test_ops_that_it_does_not_know_are_named(exports: Mapping[str, Exported]) -> None:
    with pytest.raises(RuntimeError, match=r"No conversion rule found .* MatrixSetDiagV3"):
        assert_same_actions(exports[UNREADABLE].path)
