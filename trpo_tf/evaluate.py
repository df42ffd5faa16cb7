"""Evaluates a SavedModel: plays episodes and prints every return.

python -m trpo_tf.evaluate --saved_model=saved_models/Walker2d --env=Walker2d --episodes=20
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import tensorflow as tf
from absl import flags

from trpo_tf import command_line, random, video
from trpo_tf.alike_spaces import are_alike
from trpo_tf.environment_ids import resolve_env_id
from trpo_tf.environments import make_env
from trpo_tf.evaluation import evaluate
from trpo_tf.loaded_policy import LoadedPolicy, load_policy
from trpo_tf.types import EpisodeStats

_NUM_ENVS = 8

FLAGS = command_line.new_flags()
flags.DEFINE_string(
    "saved_model",
    None,
    "The model's base directory, of which the newest version is taken, or that of one version. A "
    "SavedModel is a program: evaluate only those whose source you trust.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "env",
    None,
    "Gymnasium id, with or without its version. Default: where the policy was trained.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "env_kwargs", "{}", "Arguments of the environment, as a JSON object.", flag_values=FLAGS
)
flags.DEFINE_integer("episodes", 20, "How many episodes are played.", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Of the episodes' beginnings and of draws.", flag_values=FLAGS)
flags.DEFINE_bool(
    "stochastic", False, "Draw actions from the distribution, as in training.", flag_values=FLAGS
)
flags.DEFINE_string(
    "video", None, "Film the first episode to this file (.mp4 or .gif).", flag_values=FLAGS
)


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    policy = load_policy(command_line.required(values, "saved_model", "saved_models/Walker2d"))
    env_id = resolve_env_id(values.env or _trained_in(policy))
    env_kwargs = _parse_env_kwargs(values.env_kwargs)
    mujoco_backend = None
    if values.video is not None:
        video.check_video_path(values.video)
        if "mujoco" in str(gym.spec(env_id).entry_point):
            mujoco_backend = video.choose_mujoco_backend()
    recorded: list[video.RecordedEpisode] = []

    def make() -> gym.Env:
        env = make_env(env_id, env_kwargs)
        check_spaces(policy, env, env_id)
        if values.video is None or recorded:
            return env
        # The first environment plays the first episode.
        recorded.append(video.RecordedEpisode(env))
        return recorded[0]

    act = _stochastic_actor(policy, values.seed) if values.stochastic else policy.act
    stats = evaluate(act, make, values.episodes, values.seed, _NUM_ENVS)
    actions = "drawn" if values.stochastic else "deterministic"
    print(f"{policy.path} in {env_id}: {actions} actions, seed {values.seed}")
    print(report(stats), flush=True)
    for episode in recorded:
        same = video.film(env_id, env_kwargs, episode, values.video, mujoco_backend)
        what = "Episode 1" if same else "An episode with the actions of episode 1"
        print(f"{what} is filmed in {values.video}.")


def report(stats: EpisodeStats) -> str:
    """Every episode's return and length, then their mean and standard deviation.

    >>> import numpy as np
    >>> print(report(EpisodeStats(np.array([1.0, 3.0]), np.array([10, 20]))))
    episode      return  length
          1        1.00      10
          2        3.00      20
    return: mean 2.00, standard deviation 1.00, lowest 1.00, highest 3.00 over 2 episodes
    """
    lines = ["episode      return  length"]
    for index, (value, length) in enumerate(zip(*stats, strict=True), start=1):
        lines.append(f"{index:7d} {value:11.2f} {length:7d}")
    returns = stats.returns
    lines.append(
        f"return: mean {returns.mean():.2f}, standard deviation {returns.std():.2f}, "
        f"lowest {returns.min():.2f}, highest {returns.max():.2f} over {len(returns)} episodes"
    )
    return "\n".join(lines)


def check_spaces(policy: LoadedPolicy, env: gym.Env, env_id: str) -> None:
    """Refuses an environment that a model was not made for.

    Bounds of observations may differ, since models do not use them; those of actions may not.
    The width of floats may: EnvPool's environments have others than Gymnasium's.

    Raises:
        ValueError: naming both spaces.
    """
    if policy.observation_space is None or policy.action_space is None:
        return
    pairs = [
        ("observation", policy.observation_space, env.observation_space),
        ("action", policy.action_space, env.action_space),
    ]
    for kind, own, given in pairs:
        if not are_alike(own, given, exact_bounds=kind == "action"):
            hint = f" It was trained in {policy.env_id}." if policy.env_id else ""
            raise ValueError(
                f"the model at {policy.path} is for the {kind} space {own}, but {env_id} has "
                f"{given}.{hint}"
            )


def _stochastic_actor(policy: LoadedPolicy, seed: int) -> Callable[[Any], Any]:
    steps = itertools.count()

    def act(observations: Any) -> Any:
        rows = len(tf.nest.flatten(observations)[0])
        seeds = random.step_seeds(seed, 0, rows, next(steps), 1)[0]
        return policy.sample(observations, seeds).actions

    return act


def _trained_in(policy: LoadedPolicy) -> str:
    if policy.env_id is None:
        raise ValueError(
            f"--env is required: the model at {policy.path} does not say where it was trained."
        )
    # To import the module before the colon only because a file says so would be to run it.
    if ":" in policy.env_id:
        raise ValueError(
            f"--env is required: the model at {policy.path} was trained in {policy.env_id!r}; "
            "give that id if you trust the module."
        )
    return policy.env_id


def _parse_env_kwargs(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ValueError(
            f"--env_kwargs must be a JSON object, got {text!r}; for example "
            """--env_kwargs='{"frame_skip": 4}'."""
        )
    return arguments


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
