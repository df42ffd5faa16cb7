"""Small moving pictures of the published policies, for the README.

    python -m experiments.mujoco.films --tasks=Walker2d,Hopper,Swimmer

Films an episode of each with `trpo_tf.evaluate` and keeps some seconds of it as `<Task>.gif`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import imageio.v3 as imageio
from absl import app, flags
from PIL import Image

from experiments.campaign.process import run_process
from experiments.mujoco import protocol

_TASKS = flags.DEFINE_list("tasks", ["Walker2d", "Hopper", "Swimmer"], "Environments.")
_MODELS = flags.DEFINE_string("models", "saved_models", "Where the policies are.")
_DIRECTORY = flags.DEFINE_string("directory", str(Path(__file__).parent), "Where pictures go.")
_FIRST = flags.DEFINE_integer("first", 200, "The first frame that is kept, of a step each.")
_FRAMES = flags.DEFINE_integer("frames", 200, "How many are kept, before every other one goes.")

_SIZE = 200, 200
_COLOURS = 48
_MILLISECONDS = 40


def main(_: list[str]) -> None:
    for task in _TASKS.value:
        _picture(task, Path(_DIRECTORY.value) / f"{task}.gif")


def _picture(task: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        film = Path(directory) / "film.mp4"
        places = [f"--saved_model={_MODELS.value}/{task}", f"--video={film}"]
        seed = f"--seed={protocol.FINAL_SEED}"
        command = [sys.executable, "-m", "trpo_tf.evaluate", f"--env={task}", *places, seed]
        run_process([*command, "--episodes=1"])
        frames = imageio.imread(film)[_FIRST.value : _FIRST.value + _FRAMES.value : 2]
    images = [
        Image.fromarray(frame).resize(_SIZE, Image.Resampling.LANCZOS).quantize(_COLOURS)
        for frame in frames
    ]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=_MILLISECONDS, loop=0, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    app.run(main)
