"""The configuration: every field checked, explained, and kept through JSON and flags."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trpo_tf import config as configuration
from trpo_tf.config import TRPOConfig
from trpo_tf.setting import shown

NAMES = configuration.setting_names()
REFUSED: list[tuple[str, Any]] = [
    ("env", ""),
    ("total_steps", 0),
    ("num_envs", 0),
    ("num_steps", 0),
    ("seed", -1),
    ("seed", 2**31),
    ("sampler", "threads"),
    ("rollouts_ahead", -1),
    ("num_workers", 0),
    ("max_workers", 0),
    ("worker_cpus", 0.009),
    ("worker_timeout", 0),
    ("ray_address", " "),
    ("vectorization", "gpu"),
    ("env_kwargs", {"a": float("nan")}),
    ("env_kwargs", {1: 2}),
    ("discount", 1.01),
    ("discount", -0.1),
    ("gae_lambda", 1.01),
    ("gae_lambda_final", -0.1),
    ("normalize_advantages", 1),
    ("scale_returns", "true"),
    ("normalize_observations", None),
    ("max_kl", 0),
    ("max_kl", -0.01),
    ("max_kl_final", 0),
    ("line_search", "armijo"),
    ("cg_steps", 0),
    ("cg_tolerance", -1e-10),
    ("damping", -0.1),
    ("fisher_fraction", 0),
    ("fisher_fraction", 1.5),
    ("preconditioner_probes", -1),
    ("chunk_rows", 0),
    ("value_epochs", 0),
    ("value_minibatch_size", -1),
    ("value_learning_rate", 0),
    ("value_learning_rate_final", -1),
    ("hidden_sizes", (64, 0)),
    ("hidden_sizes", 64),
    ("activation", "sine"),
    ("initial_log_std", 4),
    ("state_dependent_std", "no"),
    ("min_advantage", -0.1),
    ("mean_limit", 0),
    ("clipped_likelihood", 1),
    ("rescale_actions", 0),
    ("execution", "cuda"),
    ("correct_traces", 1),
    ("correct_weights", 0),
    ("correct_centring", "yes"),
    ("correct_trust_region", None),
    ("max_lag", -1),
    ("replay_rollouts", 0),
    ("replay_weights", (0.0,)),
    ("replay_weights", (float("nan"),)),
    ("replay_weights", ("1",)),
    ("replay_weights", 1.0),
    ("replay_weights", (1.0, 0.5)),
    ("replay_max_kl", 0),
    ("replay_max_kl", 0.01),
    ("eval_every", -1),
    ("eval_episodes", 0),
    ("checkpoint_every", 0),
    ("keep_checkpoints", 0),
    ("max_refused_updates", 0),
    ("intra_op_threads", -1),
    ("inter_op_threads", -1),
]


def test_every_setting_is_refused_somewhere_in_the_table() -> None:
    assert {name for name, _ in REFUSED} == set(NAMES)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_bad_values_are_refused_in_one_line_with_name_and_value(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        TRPOConfig(**{"env": "CartPole-v1", name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} must be ")
    assert ", got " in message
    assert "\n" not in message


def test_the_configuration_is_frozen() -> None:
    config = TRPOConfig(env="CartPole-v1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_kl = 1.0  # type: ignore[misc]


def test_fewer_steps_than_one_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one batch \(num_envs 16 x num_steps 128 = 2048 steps\)"):
        TRPOConfig(env="CartPole-v1", total_steps=2047)
    assert TRPOConfig(env="CartPole-v1", total_steps=2048).num_updates == 1


def test_a_minibatch_larger_than_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="value_minibatch_size must be <= one batch"):
        TRPOConfig(env="CartPole-v1", num_envs=1, num_steps=32, value_minibatch_size=64)


def test_environments_are_divided_among_ray_workers() -> None:
    with pytest.raises(ValueError, match="num_envs must be a multiple of num_workers 3, got 16"):
        TRPOConfig(env="CartPole-v1", sampler="ray", num_workers=3)
    with pytest.raises(ValueError, match="max_workers must be >= num_workers 4 or none, got 2"):
        TRPOConfig(env="CartPole-v1", sampler="ray", num_workers=4, max_workers=2)
    assert TRPOConfig(env="CartPole-v1", num_workers=3).sampler == "sync"


def test_more_processes_than_a_machine_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="num_envs must be <= 1024 with vectorization=async"):
        TRPOConfig(env="CartPole-v1", num_envs=1025, vectorization="async")
    assert TRPOConfig(env="CartPole-v1", num_envs=1025, vectorization="sync").num_envs == 1025


@pytest.mark.parametrize("sampler", ["async", "ray"])
def test_a_lag_that_drops_all_that_is_made_ahead_is_refused(sampler: str) -> None:
    with pytest.raises(ValueError, match="max_lag must be >= rollouts_ahead 2 or none, got 1"):
        TRPOConfig(env="CartPole-v1", sampler=sampler, rollouts_ahead=2, max_lag=1)
    assert TRPOConfig(env="CartPole-v1", sampler=sampler, rollouts_ahead=1, max_lag=1).max_lag == 1
    assert TRPOConfig(env="CartPole-v1", max_lag=0).sampler == "sync"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"replay_rollouts": 3, "replay_weights": (1.0, 0.5)},
            r"replay_weights must be 3 numbers, one for each .*, got \(1\.0, 0\.5\)\.",
        ),
        ({"replay_rollouts": 2, "replay_weights": ()}, r"must be 2 numbers.*, got \(\)\."),
        (
            {"replay_max_kl": 0.02},
            r"replay_max_kl must be none where replay_rollouts is 1, got 0\.02\. Set max_kl",
        ),
    ],
)
def test_settings_of_replay_must_fit_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRPOConfig(env="CartPole-v1", **settings)


def test_settings_of_replay_as_text() -> None:
    weights = configuration.parse_setting("replay_weights", "1, 0.5,.25")
    assert weights == (1.0, 0.5, 0.25)
    config = TRPOConfig(
        env="CartPole-v1", replay_rollouts=3, replay_weights=[1, 0.5, 0.25], replay_max_kl=0.02
    )
    assert config.replay_weights == weights
    assert shown(config.replay_weights) == "1.0,0.5,0.25"
    assert configuration.parse_setting("replay_weights", "none") is None
    with pytest.raises(
        ValueError, match=r"replay_weights must be a list of numbers .* or none, got"
    ):
        configuration.parse_setting("replay_weights", "1,x")


def test_json_keeps_every_value() -> None:
    config = TRPOConfig(
        env="m:Env-v0",
        env_kwargs={"nested": {"list": [1, 2.5, None]}},
        hidden_sizes=(3, 2),
        chunk_rows=7,
        max_kl_final=0.001,
        replay_rollouts=2,
        replay_weights=(1.0, 0.5),
    )
    assert TRPOConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "name no env"),
        ({"env": "CartPole-v1", "max_ki": 0.1}, "no setting 'max_ki'. Did you mean 'max_kl'?"),
        ({"env": "CartPole-v1", "zzz": 1}, "no setting 'zzz'"),
        ({"env": "CartPole-v1", "max_kl": "0.1"}, "max_kl must be a number, got '0.1'"),
        ({"env": "CartPole-v1", "num_envs": 1.5}, "num_envs must be a whole number, got 1.5"),
        ({"env": 3}, "env must be a text, got 3"),
    ],
)
def test_json_is_read_strictly(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        TRPOConfig.from_json(settings)
    assert message in str(caught.value)


def test_defaults_written_as_text_are_read_back() -> None:
    config = TRPOConfig(env="CartPole-v1")
    for name in NAMES:
        assert configuration.parse_setting(name, shown(getattr(config, name))) == getattr(
            config, name
        )


def test_every_setting_has_a_help_with_its_default() -> None:
    for name in NAMES:
        text = configuration.setting_help(name)
        assert "\n" not in text
        assert name == "env" or "Default " in text


def test_switches_are_known() -> None:
    assert configuration.is_switch("correct_traces")
    assert not configuration.is_switch("max_kl")


def test_settings_need_no_tensorflow() -> None:
    """A mistyped flag is to be refused in less time than TensorFlow takes to load."""
    package = Path(configuration.__file__).parent
    program = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None\n"
        "import types\n"
        f"package = types.ModuleType('trpo_tf'); package.__path__ = [{str(package)!r}]\n"
        "sys.modules['trpo_tf'] = package\n"
        "import trpo_tf.presets; print(trpo_tf.presets.resolve('Walker2d', {})[0].env)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "Walker2d", run.stderr
