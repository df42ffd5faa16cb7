"""Films of episodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import video


class Picture(gym.Env):
    """Shows the step number as a shade of grey; an episode lasts 5 steps."""

    observation_space = gym.spaces.Box(0, 9, (1,))
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, failure: Exception | None = None) -> None:
        self.render_mode = "rgb_array"
        self.failure = failure
        self.rendered = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(1, np.float32), 1.0, self.steps == 5, False, {}

    def render(self) -> Any:
        if self.failure is not None:
            raise self.failure
        self.rendered += 1
        return np.full((34, 50, 3), 40 * self.steps, np.uint8)


def play(env: gym.Env, episodes: int) -> None:
    for _ in range(episodes):
        env.reset(seed=0)
        while not env.step(0)[2]:
            pass


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_the_first_episode_is_filmed_from_its_first_frame(tmp_path: Path, suffix: str) -> None:
    imageio = pytest.importorskip("imageio.v2")
    picture, path = Picture(), tmp_path / "films" / f"walk{suffix}"
    env = video.FilmedEpisode(picture, path)
    play(env, episodes=3)
    env.close()
    # Not list(): a film claims to be infinitely long.
    frames = [frame for frame in imageio.get_reader(path)]  # noqa: C416
    assert picture.rendered == 6
    assert len(frames) == 6
    assert frames[0].shape[:2] == (34, 50)
    for step, frame in enumerate(frames):
        assert abs(float(frame[..., :3].mean()) - 40 * step) < 6
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_episode_that_does_not_end_leaves_no_film(tmp_path: Path) -> None:
    env = video.FilmedEpisode(Picture(), tmp_path / "walk.mp4")
    env.reset()
    env.step(0)
    env.close()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_rendered_is_said_at_the_first_reset(tmp_path: Path) -> None:
    env = video.FilmedEpisode(
        Picture(AttributeError("no glGetError\nlong story")), tmp_path / "a.mp4"
    )
    with pytest.raises(OSError, match=r"cannot be rendered on this machine: no glGetError\. Leave"):
        env.reset()
    env.close()
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_refused(tmp_path: Path) -> None:
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
    # Set first, so that what the code sets is undone as well.
    monkeypatch.setenv("MUJOCO_GL", "")
    return monkeypatch


def test_the_first_backend_that_works_is_taken(headless: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    headless.setattr(video, "_can_render", lambda name: tried.append(name) or name == "osmesa")
    assert video.choose_mujoco_backend() == "osmesa"
    assert tried == ["egl", "osmesa"]
    assert video.os.environ["MUJOCO_GL"] == "osmesa"


def test_a_backend_that_is_set_stays(headless: pytest.MonkeyPatch) -> None:
    headless.setenv("MUJOCO_GL", "glfw")
    headless.setattr(video, "_can_render", lambda name: pytest.fail("probed"))
    assert video.choose_mujoco_backend() == "glfw"


def test_a_screen_leaves_the_choice_to_mujoco(headless: pytest.MonkeyPatch) -> None:
    headless.setenv("DISPLAY", ":0")
    assert video.choose_mujoco_backend() is None


def test_no_backend_is_one_clear_error(headless: pytest.MonkeyPatch) -> None:
    headless.setattr(video, "_can_render", lambda name: False)
    with pytest.raises(OSError, match="egl, osmesa, glfw were tried"):
        video.choose_mujoco_backend()
