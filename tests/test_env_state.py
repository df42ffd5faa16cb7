"""States of environments: given to others, every answer after them is the same, to the last bit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting_env import counting_env_makers

from trpo_tf.npz_file import npz_bytes, read_npz
from trpo_tf.samplers.env_state import capture, check_form, restore

CLASSIC = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")
SIMULATED = (
    "Ant",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Pusher",
    "Reacher",
    "Swimmer",
    "Walker2d",
)
V5 = [f"{name}-v5" for name in SIMULATED]
# Pusher-v4 needs a MuJoCo of before 3.
V4 = [f"{name}-v4" for name in SIMULATED if name != "Pusher"]

State = dict[str, np.ndarray]


def make(env_id: str, num_envs: int = 2, **settings: Any) -> gym.vector.SyncVectorEnv:
    """Environments whose episodes are cut after 20, 25, … steps."""
    return vector(
        functools.partial(gym.make, env_id, max_episode_steps=20 + 5 * index, **settings)
        for index in range(num_envs)
    )


def vector(makers: Any) -> gym.vector.SyncVectorEnv:
    return gym.vector.SyncVectorEnv(list(makers))


def captured(env: gym.vector.VectorEnv) -> State:
    state = capture(env)
    assert state is not None
    return state


def observations_now(env: gym.vector.SyncVectorEnv) -> list[Any]:
    """What MuJoCo's tasks would observe without another step; it is read from the simulator."""
    return [each.unwrapped._get_obs() for each in env.envs if hasattr(each.unwrapped, "data")]


def assert_same(ours: Any, theirs: Any) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("env_id", [*CLASSIC, *V5, *V4])
def test_every_answer_after_a_restored_state_is_the_same(env_id: str, tmp_path: Path) -> None:
    original, other = make(env_id), make(env_id)
    original.reset(seed=3)
    original.action_space.seed(4)
    file = tmp_path / "state.npz"
    # The state is taken after a reset, in the middle of an episode, when the first time limit has
    # cut one, behind the reset after it, and at any times later.
    for steps in (0, 9, 11, 1, 14, 26):
        for _ in range(steps):
            original.step(original.action_space.sample())
        file.write_bytes(npz_bytes(captured(original)))
        assert restore(other, read_npz(file))
        assert_same(captured(other).values(), captured(original).values())
        assert_same(observations_now(other), observations_now(original))
        for _ in range(30):
            actions = original.action_space.sample()
            assert_same(other.step(actions)[:4], original.step(actions)[:4])
    original.close()
    other.close()


def test_forces_at_a_joints_limit_are_given_back() -> None:
    """The cart of InvertedDoublePendulum at the end of its rail, which few random actions reach."""
    original, other = make("InvertedDoublePendulum-v5", 1), make("InvertedDoublePendulum-v5", 1)
    original.reset(seed=0)
    data = original.envs[0].unwrapped.data
    data.qpos[0], data.qvel[0] = 1.0, 20.0
    original.step(np.zeros((1, 1), np.float32))
    assert data.qfrc_constraint[0] < 0
    assert restore(other, captured(original))
    assert_same(observations_now(other), observations_now(original))


def test_taking_a_state_changes_nothing_and_takes_copies() -> None:
    env, twin = make("Ant-v5"), make("Ant-v5")
    env.reset(seed=0)
    twin.reset(seed=0)
    before = captured(env)
    again = captured(env)
    for _ in range(25):
        actions = env.action_space.sample()
        assert_same(env.step(actions)[:4], twin.step(actions)[:4])
        captured(env)
    assert_same(before.values(), again.values())
    env.close()
    twin.close()


def test_a_state_is_small() -> None:
    env = make("Humanoid-v5", 1)
    env.reset(seed=0)
    assert 16 * sum(array.nbytes for array in captured(env).values()) < 100_000


def with_philox() -> gym.vector.SyncVectorEnv:
    env = make("CartPole-v1")
    env.envs[1].unwrapped.np_random = np.random.Generator(np.random.Philox(0))
    return env


def differing_models() -> gym.vector.SyncVectorEnv:
    """Two simulators of one kind of task, one of which has a body more."""
    path = Path(gym.__file__).parent / "envs/mujoco/assets/inverted_pendulum.xml"
    text = path.read_text().replace("<worldbody>", '<worldbody><body pos="9 9 9"/>')
    Path("more.xml").write_text(text)
    kinds = (str(path), str(Path("more.xml").resolve()))
    return vector(
        functools.partial(gym.make, "InvertedPendulum-v5", xml_file=file) for file in kinds
    )


UNKNOWN: Mapping[str, Callable[[], gym.vector.VectorEnv]] = {
    "a vector form of its own": lambda: gym.make_vec("CartPole-v1", num_envs=2),
    "processes": lambda: gym.vector.AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2),
    "a vector wrapper": lambda: gym.wrappers.vector.RecordEpisodeStatistics(make("CartPole-v1")),
    "a wrapper": lambda: vector(
        [lambda: gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))]
    ),
    "a task": lambda: vector(counting_env_makers(2)),
    "wrappers that differ": lambda: vector(
        functools.partial(gym.make, "CartPole-v1", disable_env_checker=checked)
        for checked in (True, False)
    ),
    "another random generator": with_philox,
    "models that differ": differing_models,
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_has_no_state(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = UNKNOWN[kind]()
    env.reset()
    assert capture(env) is None
    assert not restore(env, {})
    env.close()


def test_a_state_that_another_version_left_is_not_taken() -> None:
    env = make("CartPole-v1")
    env.reset(seed=0)
    state = captured(env)
    assert bytes(state["packages"]).decode() == f"gymnasium {gym.__version__}"
    assert not restore(env, {**state, "packages": np.frombuffer(b"gymnasium 0.9", np.uint8)})
    assert restore(env, state)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[State], State]:
    return lambda state: {**state, name: change(state[name])}


def with_word(index: int, value: int) -> Callable[[State], State]:
    def change(words: np.ndarray) -> np.ndarray:
        words = words.copy()
        words[1, index] = value
        return words

    return changed("classic_control.cartpole.random", change)


def of(other: gym.vector.VectorEnv) -> State:
    other.reset(seed=0)
    return captured(other)


HOSTILE: Mapping[str, tuple[Callable[[State], State], str]] = {
    "nothing": (lambda state: {}, r"'autoreset' must be bool\[2\], got nothing"),
    "an absent array": (
        lambda state: {name: state[name] for name in state if not name.endswith("random")},
        r"'classic_control.cartpole.random' must be uint64\[2, 6\], got nothing",
    ),
    "one array more": (
        lambda state: {**state, "zoo": np.zeros(3)},
        r"'zoo' must be absent, got float64\[3\]",
    ),
    "another shape": (
        changed("classic_control.cartpole.state", lambda array: array[:, :3]),
        r"'classic_control.cartpole.state' must be float64\[2, 4\], got float64\[2, 3\]",
    ),
    "another dtype": (
        changed("autoreset", lambda array: array.astype(np.int8)),
        r"'autoreset' must be bool\[2\], got int8\[2\]",
    ),
    "another task's": (
        lambda state: of(make("Pendulum-v1")),
        r"'classic_control.cartpole.elapsed_steps' must be int64\[2, 1\], got nothing",
    ),
    "another number of environments": (
        lambda state: of(make("CartPole-v1", 3)),
        r"'autoreset' must be bool\[2\], got bool\[3\]",
    ),
    "negative steps": (
        changed("classic_control.cartpole.elapsed_steps", lambda array: array - 1),
        "numbers that no random generator or count of steps can have",
    ),
    "half a draw that is no flag": (with_word(4, 2), "numbers that no random generator"),
    "half a draw of 33 bits": (with_word(5, 2**32), "numbers that no random generator"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_state_that_does_not_fit_is_refused_with_one_line(kind: str) -> None:
    change, message = HOSTILE[kind]
    env = make("CartPole-v1")
    env.reset(seed=0)
    spoilt = change(captured(env))
    with pytest.raises(ValueError, match=message) as refused:
        restore(env, spoilt)
    assert "\n" not in str(refused.value)


def test_forms_that_agree_are_not_refused() -> None:
    check_form({"a": np.zeros(2)}, {"a": np.ones(2)})
