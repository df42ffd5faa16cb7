"""What people are told: all settings under their origins, commands that can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from trpo_tf.config import TRPOConfig, setting_names
from trpo_tf.presets import resolve
from trpo_tf.training_report import container_command, resume_command, settings_table


@pytest.mark.parametrize("width", [40, 80, 120])
def test_every_setting_stands_in_the_table_once(width: int) -> None:
    config, origins = resolve("CartPole-v1", {"hidden_sizes": (3, 2), "max_kl_final": None})
    table = settings_table(config, origins, width)
    words = [word.split("=")[0] for word in table.split() if "=" in word]
    assert sorted(words) == sorted(setting_names())
    assert max(map(len, table.splitlines())) <= width
    titles = [line.split(" (")[0] for line in table.splitlines() if not line.startswith(" ")]
    assert titles == ["flag", "preset CartPole", "default"]
    assert "hidden_sizes=3,2" in table
    assert "max_kl_final=none" in table


def test_a_strangers_words_are_shown_and_not_obeyed() -> None:
    config, origins = resolve("CartPole-v1", {"env_kwargs": {"a": "b"}})
    table = settings_table(config, {**origins, "max_kl": "flag\x1b[2J\r"})
    assert r"flag\x1b[2J\r" in table
    assert all(line.isprintable() for line in table.splitlines())


def test_commands_survive_names_with_spaces() -> None:
    config = TRPOConfig(env="CartPole-v1")
    assert shlex.split(resume_command(Path("my runs/one"), "my models", config))[-2:] == [
        "--logdir=my runs/one",
        "--export_dir=my models",
    ]
    trusted = TRPOConfig(env="my_module:Id-v0", sampler="ray", ray_address="10.0.0.1:6379")
    assert shlex.split(resume_command(Path("one"), None, trusted))[-2:] == [
        "--env=my_module:Id-v0",
        "--ray_address=10.0.0.1:6379",
    ]
    words = shlex.split(container_command(Path("my models/Cart Pole/7")))
    assert (
        words[words.index("-v") + 1]
        == f"{Path('my models/Cart Pole').absolute()}:/models/Cart Pole"
    )
    assert words[words.index("-e") + 1] == "MODEL_NAME=Cart Pole"
