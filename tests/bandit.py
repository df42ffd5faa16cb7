"""An environment in which a reset is not seen, and what small runs in it need.

Its state never changes: a run that is stopped and resumed in it between two episodes, where the
environments are reset, must be the run that was never stopped.
"""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from trpo_tf.checkpoint import latest_checkpoint, read_arrays, read_state
from trpo_tf.metrics import WALL_CLOCK_COLUMNS
from trpo_tf.named_variables import named_variables
from trpo_tf.run_directory import load_run
from trpo_tf.samplers import WorkersLost

# With the row of the reset, one rollout of `SMALL`: a run is then stopped between two episodes.
ONE_ROLLOUT = {"length": 15}

# Two rollouts' worth of nothing: what is learned is of no interest.
SMALL: dict[str, Any] = {
    "num_envs": 2,
    "num_steps": 16,
    "hidden_sizes": (4,),
    "value_epochs": 1,
    "value_minibatch_size": 0,
    "cg_steps": 2,
    "execution": "eager",
    "checkpoint_every": 1,
}


class Bandit(gym.Env):
    """Rewards actions near 0.3; can be made to misbehave.

    Args:
        spoilt_after: steps after which rewards are `spoil`.
        spoil: a number, or the name of one that JSON lacks.
        length: steps after which an episode is cut; None: never.
    """

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))
    # Of any one instance: raises SIGTERM during this step, once.
    signal_at: int | None = None
    # Of any one instance: its step fails as when a worker process has died.
    dies_at: int | None = None

    def __init__(
        self,
        spoilt_after: int | None = None,
        spoil: float | str = "NaN",
        length: int | None = None,
    ) -> None:
        self.spoilt_after = spoilt_after
        self.spoil = float(spoil)
        self.length = length
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.full(1, 0.5, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == self.signal_at:
            type(self).signal_at = None
            signal.raise_signal(signal.SIGTERM)
        if self.steps == self.dies_at:
            raise WorkersLost("Worker 0 has died.")
        is_spoilt = self.spoilt_after is not None and self.steps > self.spoilt_after
        reward = self.spoil if is_spoilt else -float((action[0] - 0.3) ** 2)
        truncated = self.length is not None and self.steps % self.length == 0
        return np.full(1, 0.5, np.float32), reward, False, truncated, {}


class Unreadable(Bandit):
    """Observations of a kind that no policy takes."""

    observation_space = gym.spaces.Text(5)


@contextmanager
def registered() -> Iterator[None]:
    """Makes `Bandit-v0` and `Unreadable-v0` known to Gymnasium."""
    gym.register("Bandit-v0", Bandit)
    gym.register("Unreadable-v0", Unreadable)
    try:
        yield
    finally:
        del gym.registry["Bandit-v0"], gym.registry["Unreadable-v0"]


def rows(logdir: str | Path) -> list[dict[str, str]]:
    """The rows of a run's progress.csv without what the clock says."""
    with open(Path(logdir) / "progress.csv", newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name not in WALL_CLOCK_COLUMNS}
            for row in csv.DictReader(file)
        ]


def variables(logdir: str | Path) -> dict[str, np.ndarray]:
    """Every variable of a run's newest checkpoint."""
    named = named_variables(load_run(logdir).trpo.checkpointables())
    return {name: variable.numpy() for name, variable in named.items()}


def state(logdir: str | Path) -> dict[str, Any]:
    """The counters of a run's newest checkpoint."""
    newest = latest_checkpoint(Path(logdir) / "checkpoints")
    assert newest is not None
    return read_state(newest)


def arrays(logdir: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a run's newest checkpoint."""
    newest = latest_checkpoint(Path(logdir) / "checkpoints")
    assert newest is not None
    found = read_arrays(newest)
    assert found is not None
    return found


def damage_newest(logdir: str | Path) -> None:
    """Turns over one bit of the newest checkpoint's variables."""
    newest = latest_checkpoint(Path(logdir) / "checkpoints")
    assert newest is not None
    data = newest.path / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
