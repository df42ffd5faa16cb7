"""Making environments: every vectorization, arguments, missing extras."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.environments import best_vectorization, make_env, make_vector_env
from trpo_tf.samplers.vector_env import is_envpool

NEXT_STEP = gym.vector.AutoresetMode.NEXT_STEP


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [("Walker2d-v5", "mujoco", "mujoco"), ("LunarLander-v3", "Box2D", "box2d")],
)
@pytest.mark.parametrize("make", [make_env, lambda env_id: make_vector_env(env_id, 2)])
def test_missing_packages_come_with_their_install_command(
    env_id, package, extra, make, monkeypatch
):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.")]:
        if name.split(".")[2] in ("mujoco", "box2d"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'pip install "trpo_tf\[{extra}\]"'):
        make(env_id)


def test_missing_atari_and_envpool(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[atari\]"'):
        make_vector_env("ALE/Pong-v5", 2)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[envpool\]"'):
        make_vector_env("CartPole-v1", 2, "envpool")


def test_missing_packages_of_others_are_named():
    with pytest.raises(ImportError, match=r"Hopper-v2 cannot be made.*gymnasium-robotics"):
        make_env("Hopper-v2")


@pytest.mark.parametrize("vectorization", ["auto", "sync", "async", "envpool", "native"])
def test_every_vectorization_resets_on_the_next_step(vectorization):
    env = make_vector_env("CartPole", 3, vectorization, seed=4)
    try:
        assert env.num_envs == 3
        assert env.metadata["autoreset_mode"] is NEXT_STEP
        assert env.single_action_space.n == 2
        observations, _ = env.reset()
        assert observations.shape == (3, 4)
    finally:
        env.close()


def test_auto_is_synchronous_but_for_atari():
    assert isinstance(make_vector_env("CartPole", 2), gym.vector.SyncVectorEnv)
    assert best_vectorization("ALE/Pong-v5") == "native"


def test_auto_takes_envpool_for_the_tasks_of_mujoco_that_it_knows():
    pytest.importorskip("envpool")
    env = make_vector_env("Walker2d", 2)
    assert is_envpool(env)
    env.close()
    assert best_vectorization("Walker2d-v4") == "envpool"
    assert best_vectorization("Walker2d", {"frame_skip": 2}) == "sync"


@pytest.mark.parametrize("package", ["envpool", "mujoco"])
def test_without_envpool_or_mujoco_auto_is_synchronous(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert best_vectorization("Walker2d") == "sync"
    atari = make_vector_env("Pong", 2)
    assert type(atari).__name__ == "AtariVectorEnv"
    assert atari.metadata["autoreset_mode"] is NEXT_STEP
    atari.close()


def test_env_kwargs_reach_the_environment():
    env = make_vector_env("Walker2d", 2, env_kwargs={"healthy_reward": 7.0})
    assert env.get_attr("_healthy_reward") == (7.0, 7.0)
    assert make_env("Walker2d", {"frame_skip": 2}).unwrapped.frame_skip == 2
    pool = make_vector_env("CartPole", 2, "envpool", env_kwargs={"max_episode_steps": 9})
    assert pool.config["max_episode_steps"] == 9


def test_envpool_is_seeded_when_it_is_made():
    first, again, other = (
        make_vector_env("CartPole", 3, "envpool", seed=seed).reset()[0] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("vectorization", ["sync", "async", "envpool", "native"])
def test_wrong_env_kwargs_are_named(vectorization):
    env_id = "ALE/Pong-v5" if vectorization == "native" else "Walker2d-v5"
    with pytest.raises(TypeError, match=r"cannot be made with the arguments {'colour': 'red'}"):
        make_vector_env(env_id, 2, vectorization, {"colour": "red"})


def test_environments_of_other_modules(tmp_path, monkeypatch):
    (tmp_path / "makeable_environments.py").write_text(
        "import gymnasium as gym\n"
        "gym.register('Makeable-v2',\n"
        "    entry_point='gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for vectorization in ("sync", "async"):
        env = make_vector_env("makeable_environments:Makeable", 2, vectorization)
        assert env.reset(seed=0)[0].shape == (2, 4)
        env.close()
    assert make_env("makeable_environments:Makeable-v2").spec.id == "Makeable-v2"
    gym.registry.pop("Makeable-v2")


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_envs must be >= 1, got 0"):
        make_vector_env("CartPole", 0)
    with pytest.raises(ValueError, match="Did you mean 'Walker2d-v5'"):
        make_vector_env("Waker2d", 2)
    with pytest.raises(ValueError, match=r"vectorization must be one of auto, sync.* got 'fast'"):
        make_vector_env("CartPole", 2, "fast")
    with pytest.raises(ValueError, match="has no vector form of its own"):
        make_vector_env("Walker2d", 2, "native")
    with pytest.raises(ValueError, match="EnvPool has no Taxi"):
        make_vector_env("Taxi", 2, "envpool")


def test_atari_alone_is_what_its_vector_env_shows():
    """Same frames as the vector env with the same seed; the reward is the unclipped score."""
    single = make_env(
        "ALE/Breakout-v5", {"reward_clipping": True, "episodic_life": True}, "rgb_array"
    )
    vector = make_vector_env("ALE/Breakout-v5", 1)
    first, _ = single.reset(seed=5)
    expected, _ = vector.reset(seed=5)
    np.testing.assert_array_equal(first, expected[0])
    assert first in single.observation_space
    rng = np.random.default_rng(0)
    for _ in range(400):
        action = int(rng.integers(4))
        observation, reward, terminated, truncated, _ = single.step(action)
        frames, rewards, ends, _, _ = vector.step(np.array([action]))
        np.testing.assert_array_equal(observation, frames[0])
        assert (reward, terminated, truncated) == (rewards[0], ends[0], False)
        if terminated:
            break
    assert terminated
    assert single.render().shape == (84, 84, 3)
    again, _ = single.reset(seed=5)
    np.testing.assert_array_equal(again, first)
    single.close()


def test_render_modes_of_single_environments():
    with pytest.raises(ValueError, match=r"render_mode must be 'rgb_array' or none, got 'human'"):
        make_env("ALE/Pong-v5", render_mode="human")
    assert make_env("ALE/Pong-v5").render() is None


MAKER = """
import ctypes, signal, time
from trpo_tf.environments import make_vector_env
env = make_vector_env("CartPole-v1", 3, "async", end_with_thread=True)
own = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(own))  # PR_GET_PDEATHSIG
print(own.value, *(process.pid for process in env.processes), flush=True)
time.sleep(3600)
"""


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_processes_end_with_their_maker_though_it_is_killed_and_one_is_stopped(repository):
    """Without it the stopped one stays, and the one before it, which never sees its pipe's end."""
    command = [sys.executable, "-c", MAKER]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as maker:
        own, *pids = (int(word) for word in maker.stdout.readline().split())
        os.kill(pids[1], signal.SIGSTOP)
        maker.kill()
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in pids if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(pids) == 3
    assert not left
    assert own == 0, "the maker itself, in which Gymnasium makes one environment more"
