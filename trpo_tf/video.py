"""A film of an episode, where the machine can render."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from trpo_tf import film_worker
from trpo_tf.atomic_files import TEMPORARY_PREFIX, make_directories

_SUFFIXES = (".mp4", ".gif", ".mkv", ".webm")
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


class RecordedEpisode(gym.Wrapper):
    """Remembers the first episode of an environment: seed and actions, which repeat it.

    Attributes:
        seed: of the first reset.
        actions: of the first episode, one a step.
        total: its return.
        ended: whether it is over.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.seed: int | None = None
        self.actions: list[Any] = []
        self.total = 0.0
        self.ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        if not self.actions:
            self.seed = seed
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Takes one step."""
        result = self.env.step(action)
        if not self.ended:
            self.actions.append(np.array(action))
            self.total += float(result[1])
            self.ended = bool(result[2] or result[3])
        return result


def film(
    env_id: str,
    env_kwargs: Mapping[str, Any],
    episode: RecordedEpisode,
    path: str | os.PathLike[str],
    mujoco_backend: str | None = None,
) -> bool:
    """Plays a recorded episode again, in another process, and films it.

    In another process, since software renderers and TensorFlow do not go together in one.

    Args:
        env_id: full Gymnasium id of the environment.
        env_kwargs: its arguments.
        episode: what was recorded in such an environment.
        path: of the film, its suffix is the format; a file that is there is replaced.
        mujoco_backend: MUJOCO_GL for the process; None: as it is.

    Returns:
        Whether the episode repeated itself (had the same return); an environment with randomness
        that its seed does not govern shows another one.

    Raises:
        OSError: if the environment cannot be rendered here or the film cannot be written.
    """
    final = Path(path)
    make_directories(final.parent)
    temporary = final.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{final.name}")
    actions = np.stack(episode.actions)
    job = {
        "env_id": env_id,
        "env_kwargs": dict(env_kwargs),
        "seed": episode.seed,
        "actions": actions.tolist(),
        "action_dtype": actions.dtype.str,
        "path": str(temporary.absolute()),
    }
    try:
        total = _run_worker(job, mujoco_backend)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    return math.isclose(total, episode.total, rel_tol=1e-9, abs_tol=1e-9)


def check_video_path(path: str | os.PathLike[str]) -> None:
    """Checks what can be checked before anything is played.

    Raises:
        ValueError: for a suffix that is no format.
        ImportError: if imageio is not installed, with the command that installs it.

    >>> check_video_path("walk.mp4")
    """
    if Path(path).suffix not in _SUFFIXES:
        raise ValueError(f"video must end in one of {', '.join(_SUFFIXES)}, got {str(path)!r}.")
    try:
        importlib.import_module("imageio.v2")
        importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ImportError(
            "films need imageio and ffmpeg, which are not installed; run "
            'pip install "trpo_tf[video]".'
        ) from error


def choose_mujoco_backend() -> str | None:
    """The first backend with which MuJoCo can render here.

    That of MUJOCO_GL where it is set; else, on Linux without a screen, EGL (a GPU or Mesa), OSMesa
    or GLFW, whichever works first.

    Returns:
        The backend; None where a screen lets MuJoCo choose.

    Raises:
        OSError: if none works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen and (sys.platform != "linux" or os.environ.get("DISPLAY")):
        return None
    candidates = (chosen,) if chosen else _MUJOCO_BACKENDS
    for backend in candidates:
        if _can_render(backend):
            return backend
    raise OSError(
        f"MuJoCo cannot render on this machine: MUJOCO_GL={' and '.join(candidates)} failed. "
        "Install a driver (on Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or "
        "libosmesa6) or leave out --video."
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


def _run_worker(job: Mapping[str, Any], mujoco_backend: str | None) -> float:
    # What is importable here, an environment's own module say, is importable there.
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if mujoco_backend is not None:
        variables["MUJOCO_GL"] = mujoco_backend
    with tempfile.TemporaryDirectory() as directory:
        job_path = Path(directory) / "job.json"
        job_path.write_text(json.dumps(job))
        # -P: this package's directory on the path would hide Python's own `random` and `types`.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", film_worker.__file__, str(job_path)],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise OSError(
            f"{job['env_id']} cannot be filmed on this machine: {_last_words(done)} Leave out "
            "--video, or try another MUJOCO_GL (egl, osmesa, glfw)."
        )
    return float(done.stdout.split()[-1])


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the renderer died of {signal.Signals(-done.returncode).name}."
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return f"{lines[-1].rstrip('.')}."
