"""Films of episodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import video

# An environment in a module of its own, as a user has one: the film is made in another process.
MODULE = '''
import os
import gymnasium as gym
import numpy as np


class Picture(gym.Env):
    """Shows the sum of the actions as a shade of grey; an episode lasts 5 steps."""

    observation_space = gym.spaces.Box(0, 9, (1,))
    action_space = gym.spaces.Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None, failure=None, random=False):
        self.render_mode, self.failure, self.random = render_mode, failure, random

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.grey = 0, int(self.np_random.integers(50))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps, self.grey = self.steps + 1, self.grey + 10 * int(action)
        reward = float(os.getpid()) if self.random else float(self.grey)
        return np.zeros(1, np.float32), reward, self.steps == 5, False, {}

    def render(self):
        if self.failure == "crash":
            os.abort()
        if self.failure is not None:
            raise AttributeError(self.failure)
        return np.full((34, 50, 3), self.grey, np.uint8)


gym.register("Picture-v0", entry_point=Picture)
'''
# No two frames in a row are alike: a GIF would merge them.
ACTIONS = [2, 1, 1, 2, 1]


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the film, beside a module that registers the environment."""
    (tmp_path / "picture_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "films"


def record(**env_kwargs: Any) -> video.RecordedEpisode:
    env = video.RecordedEpisode(gym.make("picture_module:Picture-v0", **env_kwargs))
    for seed in (3, 4):
        env.reset(seed=seed)
        for action in ACTIONS:
            env.step(np.int64(action))
    env.close()
    return env


def film(episode: video.RecordedEpisode, path: Path, **env_kwargs: Any) -> bool:
    return video.film("picture_module:Picture-v0", env_kwargs, episode, path)


def test_the_first_episode_is_recorded(picture: Path) -> None:
    episode = record()
    assert episode.seed == 3
    assert [int(action) for action in episode.actions] == ACTIONS
    start = int(gym.utils.seeding.np_random(3)[0].integers(50))
    assert episode.total == sum(start + 10 * total for total in np.cumsum(ACTIONS))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_an_episode_is_filmed_from_its_first_frame(picture: Path, suffix: str) -> None:
    imageio = pytest.importorskip("imageio.v2")
    path = picture / f"walk{suffix}"
    assert film(record(), path)
    # Not list(): a film claims to be infinitely long.
    frames = [frame for frame in imageio.get_reader(path)]  # noqa: C416
    start = int(gym.utils.seeding.np_random(3)[0].integers(50))
    assert len(frames) == 6
    assert frames[0].shape[:2] == (34, 50)
    for frame, total in zip(frames, [0, *np.cumsum(ACTIONS)], strict=True):
        assert abs(float(frame[..., :3].mean()) - start - 10 * total) < 6
    assert os.listdir(picture) == [path.name]


def test_an_environment_that_does_not_repeat_itself_is_noticed(picture: Path) -> None:
    assert not film(record(random=True), picture / "walk.gif", random=True)


def test_what_cannot_be_rendered_is_said(picture: Path) -> None:
    with pytest.raises(OSError, match=r"filmed on this machine: AttributeError: no glGetError\."):
        film(record(), picture / "walk.mp4", failure="no glGetError")
    with pytest.raises(OSError, match=r"filmed on this machine: the renderer died of SIGABRT\."):
        film(record(), picture / "walk.mp4", failure="crash")
    assert os.listdir(picture) == []


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"video must end in one of \.mp4, .* got 'walk\.jpeg'"):
        video.check_video_path("walk.jpeg")


def test_without_imageio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[video\]"'):
        video.check_video_path("walk.mp4")


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return monkeypatch


def test_the_first_backend_that_works_is_taken(headless: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    headless.setattr(video, "_can_render", lambda name: tried.append(name) or name == "osmesa")
    assert video.choose_mujoco_backend() == "osmesa"
    assert tried == ["egl", "osmesa"]


def test_a_backend_that_is_set_is_the_only_one_tried(headless: pytest.MonkeyPatch) -> None:
    headless.setenv("MUJOCO_GL", "glfw")
    headless.setattr(video, "_can_render", lambda name: name == "glfw")
    assert video.choose_mujoco_backend() == "glfw"
    headless.setattr(video, "_can_render", lambda name: name == "egl")
    with pytest.raises(OSError, match="MUJOCO_GL=glfw failed"):
        video.choose_mujoco_backend()


def test_a_screen_leaves_the_choice_to_mujoco(headless: pytest.MonkeyPatch) -> None:
    headless.setenv("DISPLAY", ":0")
    assert video.choose_mujoco_backend() is None


def test_no_backend_is_one_clear_error(headless: pytest.MonkeyPatch) -> None:
    headless.setattr(video, "_can_render", lambda name: False)
    with pytest.raises(OSError, match="MUJOCO_GL=egl and osmesa and glfw failed"):
        video.choose_mujoco_backend()
