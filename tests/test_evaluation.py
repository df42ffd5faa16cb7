"""Evaluation: whole episodes, each with a seed of its own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.action_map import to_env_actions
from trpo_tf.evaluation import deterministic_actor, episode_seed, evaluate
from trpo_tf.policies import make_policy


class DrawnLength(gym.Env):
    """An episode lasts 1 to 20 steps, drawn at reset; each step pays 1; the action is checked."""

    observation_space = gym.spaces.Dict(
        {"left": gym.spaces.Box(0, 100, (2,)), "right": gym.spaces.Discrete(3)}
    )
    action_space = gym.spaces.Box(-1, 1, (2,))

    def __init__(self, closed: list[bool] | None = None) -> None:
        self.closed = closed
        self.running = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 21))
        self.running = True
        return self.observation(), {}

    def observation(self) -> Any:
        return {"left": np.full(2, self.left, np.float32), "right": np.int64(1)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.running, "stepped after the episode's end"
        np.testing.assert_allclose(action, [self.left, -self.left])
        self.left -= 1
        self.running = self.left > 0
        return (
            self.observation(),
            1.0,
            not self.running and self.left % 2 == 0,
            not self.running,
            {},
        )

    def close(self) -> None:
        if self.closed is not None:
            self.closed.append(True)


def act(observations: Any) -> Any:
    assert observations["right"].tolist() == [1] * len(observations["right"])
    return observations["left"] * np.array([1, -1])


def drawn_length(seed: int) -> int:
    env = DrawnLength()
    env.reset(seed=seed)
    return env.left


@pytest.mark.parametrize("num_envs", [1, 3, 8, 50])
def test_every_episode_that_is_begun_counts(num_envs: int) -> None:
    stats = evaluate(act, DrawnLength, episodes=23, seed=5, num_envs=num_envs)
    expected = [drawn_length(episode_seed(5, episode)) for episode in range(23)]
    assert stats.lengths.tolist() == expected
    assert stats.returns.tolist() == expected
    assert stats.returns.dtype == np.float64
    assert stats.lengths.dtype == np.int64


def test_the_policy_sees_batches_of_one_size() -> None:
    sizes = []

    def counted(observations: Any) -> Any:
        sizes.append(len(observations["left"]))
        return act(observations)

    evaluate(counted, DrawnLength, episodes=9, num_envs=4)
    assert set(sizes) == {4}


def test_another_seed_gives_other_episodes() -> None:
    first = evaluate(act, DrawnLength, episodes=10, seed=0)
    assert first.lengths.tolist() == evaluate(act, DrawnLength, episodes=10).lengths.tolist()
    assert (
        first.lengths.tolist() != evaluate(act, DrawnLength, episodes=10, seed=1).lengths.tolist()
    )


def test_environments_are_closed_also_after_an_error() -> None:
    closed: list[bool] = []
    evaluate(act, lambda: DrawnLength(closed), episodes=5, num_envs=2)
    assert closed == [True, True]

    def failing(observations: Any) -> Any:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        evaluate(failing, lambda: DrawnLength(closed), episodes=5, num_envs=3)
    assert len(closed) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, "episodes must be >= 1, got 0"),
        ({"episodes": 1, "num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"episodes": 1, "seed": -1}, "seed must be >= 0, got -1"),
        ({"episodes": 1, "max_steps": 0}, "max_steps must be >= 1, got 0"),
    ],
)
def test_counts_are_checked(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(act, DrawnLength, **arguments)


def test_a_policy_in_memory_acts_by_its_present_weights() -> None:
    space = gym.spaces.Box(np.float32([0, -3]), np.float32([1, 5]))
    policy = make_policy(DrawnLength.observation_space, space, rescale_actions=True)
    act_now = deterministic_actor(policy)
    observations = {"left": np.float32([[1, 2], [3, 4]]), "right": np.array([0, 2])}
    before = act_now(observations)
    assert space.contains(before[0])
    for variable in policy.trainable_variables:
        variable.assign_add(np.full(variable.shape, 0.1, np.float32))
    after = act_now(observations)
    assert (before != after).any()
    expected = to_env_actions(space, policy(observations).mode(), rescale_actions=True)
    np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize("given", [np.float32, np.float64])
@pytest.mark.parametrize("width", [np.float32, np.float64])
def test_actions_of_a_box_get_the_dtype_of_the_environment(width: Any, given: Any) -> None:
    class OfOneWidth(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,))
        action_space = gym.spaces.Box(-1, 1, (2,), width)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
            return np.zeros(1, np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            assert action in self.action_space
            return np.zeros(1, np.float32), float(action[0]), True, False, {}

    stats = evaluate(lambda rows: np.full((len(rows), 2), 0.5, given), OfOneWidth, episodes=2)
    np.testing.assert_array_equal(stats.returns, [0.5, 0.5])
