"""A film of an episode, where the machine can render."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym

from trpo_tf.atomic_files import TEMPORARY_PREFIX, make_directories

_SUFFIXES = (".mp4", ".gif", ".mkv", ".webm")
_DEFAULT_FRAMES_PER_SECOND = 30
_MUJOCO_BACKENDS = ("egl", "osmesa", "glfw")
_PROBE_SECONDS = 60.0
# In a process of its own: MuJoCo takes its backend when it is imported, and a driver that is not
# there can crash it.
_PROBE = """
import mujoco
from mujoco.gl_context import GLContext
context = GLContext(64, 64)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
"""


class FilmedEpisode(gym.Wrapper):
    """Writes the first episode of an environment to a file, frame by frame.

    The file appears once the episode has ended; later episodes are not rendered.

    Args:
        env: one made with `render_mode="rgb_array"`.
        path: of the film; the suffix is the format. A file that is there is replaced.

    Raises:
        ValueError: for another suffix.
        ImportError: if imageio is not installed.
        OSError: if the directory cannot be written; at `reset` if the environment cannot be
            rendered here.
    """

    def __init__(self, env: gym.Env, path: str | os.PathLike[str]) -> None:
        super().__init__(env)
        check_video_path(path)
        self.path = Path(path)
        make_directories(self.path.parent)
        self._writer: Any = None
        self._finished = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, the first time with its first frame."""
        result = self.env.reset(seed=seed, options=options)
        if not self._finished:
            first_frame = self._render()
            self._writer = self._open()
            self._writer.append_data(first_frame)
        return result

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Takes one step, and a frame while the first episode lasts."""
        result = self.env.step(action)
        if not self._finished:
            self._writer.append_data(self._render())
            if result[2] or result[3]:
                self._finish()
        return result

    def close(self) -> None:
        """Closes the environment; an episode that did not end leaves no film."""
        if self._writer is not None and not self._finished:
            self._writer.close()
            self._temporary.unlink(missing_ok=True)
        self._finished = True
        super().close()

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{self.path.name}")

    def _open(self) -> Any:
        frames_per_second = self.env.metadata.get("render_fps", _DEFAULT_FRAMES_PER_SECOND)
        if self.path.suffix == ".gif":
            return _imageio().get_writer(self._temporary, duration=1000 / frames_per_second)
        # Codecs want even sizes; the default of 16 would stretch the picture.
        return _imageio().get_writer(self._temporary, fps=frames_per_second, macro_block_size=2)

    def _finish(self) -> None:
        self._writer.close()
        os.replace(self._temporary, self.path)
        self._finished = True

    def _render(self) -> Any:
        try:
            frame: Any = self.env.render()
        except Exception as error:  # Each library fails in its own way.
            raise OSError(
                f"the environment cannot be rendered on this machine: {_first_line(error)} "
                "Leave out --video, or try another MUJOCO_GL (egl, osmesa, glfw)."
            ) from error
        if frame is None:
            raise OSError("the environment renders no picture; leave out --video.")
        return frame


def check_video_path(path: str | os.PathLike[str]) -> None:
    """Checks what can be checked before anything is played.

    Raises:
        ValueError: for a suffix that is no format.
        ImportError: if imageio is not installed, with the command that installs it.

    >>> check_video_path("walk.mp4")
    """
    if Path(path).suffix not in _SUFFIXES:
        raise ValueError(f"video must end in one of {', '.join(_SUFFIXES)}, got {str(path)!r}.")
    _imageio()


def choose_mujoco_backend() -> str | None:
    """Sets MUJOCO_GL to the first backend that can render here, if nobody has set it.

    Call it before anything imports mujoco. On Linux without a screen that is EGL (a GPU or Mesa)
    or OSMesa; elsewhere, with a screen, MuJoCo's own choice stands.

    Returns:
        The backend; None where the choice is left to MuJoCo.

    Raises:
        OSError: if no backend works.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return None
    if os.environ.get("MUJOCO_GL"):
        return os.environ["MUJOCO_GL"]
    for backend in _MUJOCO_BACKENDS:
        if _can_render(backend):
            os.environ["MUJOCO_GL"] = backend
            return backend
    raise OSError(
        f"MuJoCo cannot render on this machine: {', '.join(_MUJOCO_BACKENDS)} were tried. Install "
        "a driver (on Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6) "
        "or leave out --video."
    )


def _can_render(backend: str) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        return done.returncode == 0
    return False


def _imageio() -> Any:
    try:
        importlib.import_module("imageio_ffmpeg")
        return importlib.import_module("imageio.v2")
    except ImportError as error:
        raise ImportError(
            "films need imageio and ffmpeg, which are not installed; run "
            'pip install "trpo_tf[video]".'
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else f"{type(error).__name__}."
