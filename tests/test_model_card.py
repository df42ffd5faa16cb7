"""What a served model says of itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.config import TRPOConfig
from trpo_tf.model_card import json_value, returns_summary, training_summary
from trpo_tf.presets import resolve
from trpo_tf.run_record import RunRecord
from trpo_tf.types import EpisodeStats

SPACES = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)


@dataclasses.dataclass
class Record:
    name: str
    sizes: tuple[int, ...]


VALUES = {
    "plain": ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
    "numpy": ({"a": np.arange(2), "b": np.float32(0.5), "c": np.bool_(True)}, None),
    "not finite": ([np.nan, np.inf, -np.inf, float("nan")], ["nan", "inf", "-inf", "nan"]),
    "dataclass": (Record("x", (1, 2)), {"name": "x", "sizes": [1, 2]}),
    "path": (Path("a/b"), "a/b"),
    "keys": ({1: 2}, {"1": 2}),
    "named tuple": (EpisodeStats(np.ones(1), np.ones(1, int)), [[1.0], [1]]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_become_json(name: str) -> None:
    value, expected = VALUES[name]
    expected = {"a": [0, 1], "b": 0.5, "c": True} if expected is None else expected
    got = json_value(value)
    assert got == expected
    assert json.loads(json.dumps(got, allow_nan=False)) == expected


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, [b"bytes"], Record])
def test_what_json_lacks_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="metadata must be what JSON can hold, got "):
        json_value(value)


def test_a_training_run_is_summed_up() -> None:
    config, origins = resolve("HalfCheetah", {"seed": 3})
    record = RunRecord(config, origins, *SPACES, ({"started": "now"}, {"started": "later"}))
    summary = training_summary(record, 7, 14336)
    assert summary["env"] == "HalfCheetah"
    assert summary["preset"] == "HalfCheetah"
    assert (summary["updates"], summary["env_steps"]) == (7, 14336)
    assert summary["started"] == "now"
    assert TRPOConfig.from_json(summary["config"]) == config
    assert summary["origins"]["seed"] == "flag"
    assert json_value(summary) == summary


def test_without_a_preset_it_is_the_default_one() -> None:
    summary = training_summary(RunRecord(*resolve("Unheard-v0", {}), *SPACES), 0, None)
    assert summary["preset"] == "default"
    assert summary["env_steps"] is None
    assert summary["started"] is None


def test_returns_stand_beside_it_if_there_are_any() -> None:
    evaluation = EpisodeStats(np.array([1.0, 3.0]), np.array([5, 6]))
    expected = {"returns": {"mean": 2.0, "std": 1.0, "episodes": 2}}
    assert json_value(returns_summary(evaluation)) == expected
    assert returns_summary(None) == {}
