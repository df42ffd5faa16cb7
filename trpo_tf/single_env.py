"""A vector environment of one as an ordinary environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class SingleEnv(gym.Env):
    """The one environment inside a vector environment, stepped and reset by its caller.

    Atari's vector environment has its own preprocessing; evaluating in it, rather than in a
    wrapped single environment, shows a policy exactly what it was trained on.

    Args:
        vector_env: of one environment.
        render_mode: None, or "rgb_array" for environments whose observation is a stack of images,
            frames first; the newest frame is what `render` gives.

    Raises:
        ValueError: if there is more than one environment, or for another render mode.
    """

    def __init__(self, vector_env: gym.vector.VectorEnv, render_mode: str | None = None) -> None:
        if vector_env.num_envs != 1:
            raise ValueError(f"a vector env of 1 environment is needed, got {vector_env.num_envs}.")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be 'rgb_array' or none, got {render_mode!r}.")
        self.vector_env = vector_env
        self.spec = vector_env.spec
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
        self._frames: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        observations, info = self.vector_env.reset(seed=seed, options=options)
        self._frames = observations[0]
        return self._frames, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one step; after an episode's end, `reset` comes next."""
        actions = np.asarray(action)[np.newaxis]
        observations, rewards, terminated, truncated, info = self.vector_env.step(actions)
        self._frames = observations[0]
        return self._frames, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """The newest frame [height, width, 3] in bytes; None without a render mode."""
        if self.render_mode is None or self._frames is None:
            return None
        frame = np.asarray(self._frames[-1])
        return np.repeat(frame[..., np.newaxis], 3, axis=-1) if frame.ndim == 2 else frame

    def close(self) -> None:
        """Closes the vector environment."""
        self.vector_env.close()
