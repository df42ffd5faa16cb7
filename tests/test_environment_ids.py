"""Names of environments: versions, own modules, near matches."""

from __future__ import annotations

import sys

import gymnasium as gym
import pytest

from trpo_tf.environment_ids import resolve_env_id


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module that registers `Own-v0` and `Own-v3` when imported."""
    (tmp_path / "own_environments.py").write_text(
        "import gymnasium as gym\n"
        "for version in (0, 3):\n"
        "    gym.register(f'Own-v{version}',\n"
        "        entry_point='gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    (tmp_path / "broken_environments.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_environments", None)
    for name in ("Own-v0", "Own-v3"):
        gym.registry.pop(name, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Walker2d-v5", "Walker2d-v5"),
        ("Walker2d-v4", "Walker2d-v4"),
        ("CartPole", "CartPole-v1"),
        ("ALE/Pong", "ALE/Pong-v5"),
        ("ALE/Pong-v5", "ALE/Pong-v5"),
        ("Pong", "ALE/Pong-v5"),
        ("PongNoFrameskip-v4", "PongNoFrameskip-v4"),
    ],
)
def test_ids_get_their_version(given, expected):
    assert resolve_env_id(given) == expected


def test_the_newest_version_is_what_gymnasium_registers_as_newest():
    newest = max(spec.version for spec in gym.registry.values() if spec.name == "Walker2d")
    assert resolve_env_id("Walker2d") == f"Walker2d-v{newest}"


def test_own_modules(own_module):
    assert resolve_env_id("own_environments:Own-v0") == "own_environments:Own-v0"
    assert resolve_env_id("own_environments:Own") == "own_environments:Own-v3"
    with pytest.raises(ValueError, match=r"cannot be imported.*a_package_that_is_not_there"):
        resolve_env_id("broken_environments:Own-v0")
    with pytest.raises(ValueError, match=r"cannot be imported.*no_such_module"):
        resolve_env_id("no_such_module:Own-v0")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("Waker2d", "Did you mean 'Walker2d-v5'"),
        ("walker2d", "Did you mean 'Walker2d-v5'"),
        ("HalfCheeta-v5", "Did you mean 'HalfCheetah-v5'"),
        ("ALE/Pongg-v5", "Did you mean 'ALE/Pong-v5'"),
        ("Walker2d-v99", "no such version; there are .*Walker2d-v5"),
        ("zzqqxx", "there is no environment 'zzqqxx'. An environment of your own"),
        ("not an id", "there is no environment"),
        ("", "there is no environment"),
    ],
)
def test_unknown_ids_name_what_is_near(given, words):
    with pytest.raises(ValueError, match=words):
        resolve_env_id(given)


def test_atari_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[atari\]"'):
        resolve_env_id("ALE/Pong-v5")
    with pytest.raises(ValueError, match="there is no environment"):
        resolve_env_id("Zzpong")
