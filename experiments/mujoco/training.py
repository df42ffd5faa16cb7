"""One run of ours: trained by the command line, evaluated from the SavedModel that it leaves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.campaign.process import REPEATABLE, run_process
from experiments.mujoco.protocol import (
    FINAL_EPISODES,
    FINAL_SEED,
    LAST_SHARE,
    Measured,
)
from trpo_tf import environments, evaluation, load_policy
from trpo_tf.progress_file import read_progress
from trpo_tf.types import EpisodeStats

# Episodes of which each row of progress.csv holds the mean return.
_WINDOW = 100


def run_directory(runs: Path, task: str, seed: int, settings: Sequence[str] = ()) -> Path:
    """Where a run trains."""
    return runs / "-".join([task, str(seed), *settings]).replace("/", "_")


def training_flags(task: str, seed: int, settings: Sequence[str] = ()) -> list[str]:
    """Flags of `trpo_tf.train`.

    Args:
        task: environment without version.
        seed: of the run.
        settings: further ones, name=value each.
    """
    fixed = {"env": task, "seed": seed, **REPEATABLE}
    given = [f"{name}={value}" for name, value in fixed.items()]
    return [f"--{setting}" for setting in (*given, *settings)]


def train(directory: Path, flags: Sequence[str]) -> None:
    """Trains to the end, from where the directory's run was interrupted if it has begun."""
    resume = ["--resume"] if (directory / "config.json").exists() else []
    places = [f"--logdir={directory}", f"--export_dir={exported(directory)}", "--progress=none"]
    run_process([sys.executable, "-m", "trpo_tf.train", *flags, *places, *resume])


def exported(directory: Path) -> Path:
    """Where a run leaves its policy."""
    return directory / "exported"


def final_evaluation(saved_model: Path) -> EpisodeStats:
    """What `python -m trpo_tf.evaluate` plays with these episodes and this seed."""
    policy = load_policy(saved_model)
    env_id = policy.env_id
    assert env_id is not None
    return evaluation.evaluate(
        policy.act, lambda: environments.make_env(env_id), FINAL_EPISODES, FINAL_SEED
    )


def measure(directory: Path) -> Measured:
    """What a finished run has reached."""
    progress = read_progress(directory / "progress.csv")
    columns = ("env_steps", "eval_return_mean", "eval_return_std")
    is_evaluated = ~np.isnan(progress["eval_return_mean"])
    rows = zip(*(progress[name][is_evaluated] for name in columns), strict=True)
    returns = final_evaluation(exported(directory)).returns
    return Measured(
        evaluations=[(int(steps), float(mean), float(std)) for steps, mean, std in rows],
        final_mean=float(returns.mean()),
        final_std=float(returns.std()),
        train_return=training_return(progress),
        env_steps=int(progress["env_steps"][-1]),
        updates=int(progress["update"][-1]),
        seconds=float(progress["wall_time"][-1]),
    )


def training_return(progress: Mapping[str, np.ndarray]) -> float:
    """The mean over the last tenth's episodes, from windows that lie side by side.

    A row holds the mean of the last hundred episodes; the windows reach as far back as the tenth
    does, to a row, and at least one is taken.
    """
    ended = np.cumsum(progress["episodes"])
    is_late = progress["env_steps"] > (1 - LAST_SHARE) * progress["env_steps"][-1]
    windows = max(1, round(progress["episodes"][is_late].sum() / _WINDOW))
    rows = np.searchsorted(ended, ended[-1] - _WINDOW * np.arange(windows))
    return float(np.mean(progress["episode_return_mean"][rows]))
