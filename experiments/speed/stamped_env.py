"""Walker2d that notes when it is stepped for the first time.

    python -m trpo_tf.train --env=experiments.speed.stamped_env:StampedWalker2d-v0

The time of `time.monotonic`, which is one for all processes, goes into the file that the
environment variable FIRST_STEP_FILE names.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import gymnasium as gym

ENV_ID = "experiments.speed.stamped_env:StampedWalker2d-v0"
FILE_VARIABLE = "FIRST_STEP_FILE"


class _FirstStep(gym.Wrapper):
    is_first = True

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        if self.is_first:
            self.is_first = False
            # The environment that is first writes the file, the others leave it.
            with contextlib.suppress(FileExistsError), open(os.environ[FILE_VARIABLE], "x") as file:
                file.write(repr(time.monotonic()))
        return result


def make(**settings: Any) -> gym.Env:
    """The environment; `gymnasium.make` adds the rest."""
    return _FirstStep(gym.make("Walker2d-v5", **settings).unwrapped)


gym.register("StampedWalker2d-v0", make, max_episode_steps=1000)
