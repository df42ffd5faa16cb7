"""Presets: valid, reasoned, found by any spelling of an id, and named as origins."""

from __future__ import annotations

import pytest

from trpo_tf.config import TRPOConfig
from trpo_tf.presets import PRESETS, preset, resolve

EXPECTED = [
    "Walker2d", "Hopper", "HalfCheetah", "Ant", "Swimmer", "Humanoid", "Reacher", "Pusher",
    "InvertedPendulum", "InvertedDoublePendulum", "CartPole", "Acrobot", "MountainCar",
    "MountainCarContinuous", "Pendulum", "LunarLander", "LunarLanderContinuous", "BipedalWalker",
    "ALE/*",
]  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_there_is_a_preset_for_every_usual_environment(name: str) -> None:
    assert preset(name).name == name


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_give_a_reason(name: str) -> None:
    known = PRESETS[name]
    assert known.name == name
    assert len(known.reason) > 20
    config = TRPOConfig(env=name, **known.settings)
    for setting, value in known.settings.items():
        assert getattr(config, setting) == value


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("Walker2d", "Walker2d"),
        ("Walker2d-v5", "Walker2d"),
        ("my.module:Walker2d-v4", "Walker2d"),
        ("ALE/Pong-v5", "ALE/*"),
        ("ALE/Breakout", "ALE/*"),
        ("LunarLanderContinuous-v3", "LunarLanderContinuous"),
        ("Walker2dHard-v0", "default"),
        ("", "default"),
    ],
)
def test_version_and_module_do_not_matter(env: str, name: str) -> None:
    assert preset(env).name == name


def test_flags_win_over_presets_and_presets_over_defaults() -> None:
    config, origins = resolve("Swimmer", {"max_kl": 0.5})
    assert (config.discount, origins["discount"]) == (0.9999, "preset Swimmer")
    assert (config.max_kl, origins["max_kl"]) == (0.5, "flag")
    assert (config.damping, origins["damping"]) == (0.1, "default")
    assert (config.env, origins["env"]) == ("Swimmer", "flag")
    assert set(origins) == set(config.to_json())


def test_a_flag_that_repeats_the_preset_is_still_a_flag() -> None:
    assert resolve("Swimmer", {"discount": 0.9999})[1]["discount"] == "flag"


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'damping'"):
        resolve("Swimmer", {"dampin": 0.1})
