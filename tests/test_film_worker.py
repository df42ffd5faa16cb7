"""The process that films; what films show is tested by test_video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import film_worker

WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = sys.modules["trpo_tf"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("pygame")
    pytest.importorskip("imageio")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    return {
        "env_id": "Pendulum-v1",
        "env_kwargs": {"g": 5.0},
        "seed": 3,
        "actions": [[0.1], [-0.7], [1.9]],
        "action_dtype": "<f4",
        "path": str(tmp_path / "pendulum.gif"),
    }


def test_the_return_is_that_of_the_recorded_actions(job: dict[str, Any]) -> None:
    env = gym.make("Pendulum-v1", g=5.0)
    env.reset(seed=3)
    expected = sum(env.step(np.float32(action))[1] for action in job["actions"])
    assert film_worker.film(job) == pytest.approx(expected, rel=1e-12)
    assert Path(job["path"]).stat().st_size > 0


def test_it_needs_neither_tensorflow_nor_the_package(job: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-P", "-c", WITHOUT_TENSORFLOW, film_worker.__file__, "job.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == film_worker.film(job)


def test_an_environment_without_pictures_is_an_error(job: dict[str, Any]) -> None:
    class Blind(gym.Env):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
        observation_space = gym.spaces.Box(0, 1, (1,))
        action_space = gym.spaces.Discrete(2)

        def __init__(self, render_mode: str | None = None) -> None:
            self.render_mode = render_mode

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return self.observation_space.low, {}

        def render(self) -> None:
            return None

    gym.register("Blind-v0", entry_point=Blind, disable_env_checker=True)
    with pytest.raises(RuntimeError, match="renders no picture"):
        film_worker.film({**job, "env_id": "Blind-v0", "env_kwargs": {}})
    gym.registry.pop("Blind-v0")


def test_the_camera_follows_a_task_that_has_one_unless_one_is_chosen() -> None:
    pytest.importorskip("mujoco")
    # Nothing is drawn, so no graphics library is needed.
    cameras = [
        film_worker._make_env(env_id, env_kwargs).unwrapped.mujoco_renderer.camera_id
        for env_id, env_kwargs in [
            ("Walker2d-v5", {}),
            ("Walker2d-v5", {"camera_id": -1}),
            ("Reacher-v5", {}),
        ]
    ]
    assert cameras == [0, -1, -1]
