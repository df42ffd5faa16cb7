"""One environment out of a vector environment: the same numbers without the row dimension."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf.single_env import SingleEnv


class CountingFrames(gym.Env):
    """Shows a stack of two frames, the previous and the present step's number in every pixel."""

    observation_space = gym.spaces.Box(0, 255, (2, 4, 5), np.uint8)
    action_space = gym.spaces.Discrete(3)
    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, last_step: int = 3, truncates: bool = False, colours: bool = False) -> None:
        self.last_step, self.truncates = last_step, truncates
        if colours:
            self.observation_space = gym.spaces.Box(0, 255, (2, 4, 5, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = int(self.np_random.integers(10, 100))
        self.first = self.count
        return self._observation(), {"options": options}

    def step(self, action):
        self.count += 1
        ends = self.count - self.first == self.last_step
        done = (ends and not self.truncates, ends and self.truncates)
        return self._observation(), float(action), *done, {}

    def _observation(self):
        shape = self.observation_space.shape[1:]
        return np.stack([np.full(shape, self.count - 1), np.full(shape, self.count)]).astype(
            np.uint8
        )


def single(render_mode: str | None = None, **settings) -> SingleEnv:
    return SingleEnv(gym.vector.SyncVectorEnv([lambda: CountingFrames(**settings)]), render_mode)


@pytest.mark.parametrize("truncates", [False, True])
def test_it_gives_what_the_environment_gives(truncates):
    env, plain = single(truncates=truncates), CountingFrames(truncates=truncates)
    assert env.observation_space == plain.observation_space
    assert env.action_space == plain.action_space
    for seed in (3, 4):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(observation, plain.reset(seed=seed)[0])
        done = False
        while not done:
            action = np.int64(2)
            *given, _ = env.step(action)
            *expected, _ = plain.step(action)
            np.testing.assert_array_equal(given[0], expected[0])
            assert given[1:] == expected[1:]
            assert [type(value) for value in given[1:]] == [float, bool, bool]
            done = given[2] or given[3]


def test_a_reset_after_an_end_is_a_whole_reset():
    env = single(last_step=1)
    first, _ = env.reset(seed=5)
    env.step(0)
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(env.step(0)[0][1], first[1] + 1)


@pytest.mark.parametrize("colours", [False, True])
def test_it_renders_the_newest_frame(colours):
    env = single("rgb_array", colours=colours)
    assert env.render() is None
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        frame = env.render()
        assert (frame.shape, frame.dtype) == ((4, 5, 3), np.uint8)
        assert (frame == observation[1].max()).all()
        observation = env.step(0)[0]


def test_without_a_render_mode_it_renders_nothing():
    env = single()
    env.reset(seed=0)
    assert env.render() is None


def test_closing_closes_the_vector_environment():
    env = single()
    env.close()
    assert env.vector_env.closed


def test_what_it_cannot_stand_for_is_refused():
    two = gym.vector.SyncVectorEnv([CountingFrames, CountingFrames])
    with pytest.raises(ValueError, match="1 environment is needed, got 2"):
        SingleEnv(two)
    with pytest.raises(ValueError, match="render_mode must be 'rgb_array' or none, got 'human'"):
        single("human")
