"""Plays a recorded episode again and films it: a script, run in a process without TensorFlow.

Software renderers (Mesa) and TensorFlow each bring an LLVM, and one process does not survive both.
So nothing of this package may be imported here at the top.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

_DEFAULT_FRAMES_PER_SECOND = 30
_CAMERA_ARGUMENTS = {"camera_id", "camera_name", "default_camera_config"}


def film(job: dict[str, Any]) -> float:
    """Plays and films an episode; returns its return.

    Args:
        job: env_id, env_kwargs, seed, actions (one a step), action_dtype and path.
    """
    env = _make_env(job["env_id"], job["env_kwargs"])
    total = 0.0
    try:
        env.reset(seed=job["seed"])
        frame = _render(env)
        writer = _open(Path(job["path"]), env.metadata.get("render_fps"))
        with writer:
            writer.append_data(frame)
            for action in np.asarray(job["actions"], job["action_dtype"]):
                total += float(env.step(action)[1])
                writer.append_data(_render(env))
    finally:
        env.close()
    return total


def _make_env(env_id: str, env_kwargs: dict[str, Any]) -> Any:
    if env_id.startswith("ALE/"):
        # Its preprocessing is ours, and it draws its pictures without a graphics library.
        environments = importlib.import_module("trpo_tf.environments")
        return environments.make_env(env_id, env_kwargs, render_mode="rgb_array")
    env = gym.make(env_id, render_mode="rgb_array", **env_kwargs)
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and not _CAMERA_ARGUMENTS & env_kwargs.keys():
        _follow(renderer)
    return env


def _follow(renderer: Any) -> None:
    """Films by the task's own camera, if it has one: Gymnasium 1.4 takes one that stands still."""
    mujoco = importlib.import_module("mujoco")
    renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def _render(env: Any) -> Any:
    frame = env.render()
    if frame is None:
        raise RuntimeError("the environment renders no picture.")
    return frame


def _open(path: Path, frames_per_second: float | None) -> Any:
    imageio = importlib.import_module("imageio.v2")
    frames_per_second = frames_per_second or _DEFAULT_FRAMES_PER_SECOND
    if path.suffix == ".gif":
        return imageio.get_writer(path, duration=1000 / frames_per_second)
    # Codecs want even sizes; the default of 16 would stretch the picture.
    return imageio.get_writer(path, fps=frames_per_second, macro_block_size=2)


if __name__ == "__main__":
    sys.stdout.write(f"\n{film(json.loads(Path(sys.argv[1]).read_text()))!r}\n")
