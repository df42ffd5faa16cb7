"""Evaluates a SavedModel: plays episodes and prints every return.

python -m trpo_tf.evaluate --saved_model=saved_models/Walker2d --env=Walker2d --episodes=20
python -m trpo_tf.evaluate --server=http://localhost:8501 --env=Walker2d --episodes=20
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
from trpo_tf.model_versions import default_base
from trpo_tf.serving.client import Client
from trpo_tf.serving.status_codes import ServingError
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
    "server",
    None,
    "A running server instead: http://, https://, grpc:// or grpcs://, host and port.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model",
    None,
    "The model's name on the server. Default: the environment's, as exports are named.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "version_or_label",
    None,
    "Which version on the server: a number or a label. Default: the newest.",
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
    env_kwargs = _parse_env_kwargs(values.env_kwargs)
    policy: LoadedPolicy | Client
    if values.server is None:
        policy = load_policy(command_line.required(values, "saved_model", "saved_models/Walker2d"))
        env_id = resolve_env_id(values.env or _trained_in(policy))
        source = str(policy.path)
    else:
        env_id = resolve_env_id(command_line.required(values, "env", "Walker2d"))
        policy, source = _on_server(values, env_id, env_kwargs)
    mujoco_backend = None
    if values.video is not None:
        video.check_video_path(values.video)
        if "mujoco" in str(gym.spec(env_id).entry_point):
            mujoco_backend = video.choose_mujoco_backend()
    recorded: list[video.RecordedEpisode] = []

    def make() -> gym.Env:
        env = make_env(env_id, env_kwargs)
        if isinstance(policy, LoadedPolicy):
            check_spaces(policy, env, env_id)
        if values.video is None or recorded:
            return env
        # The first environment plays the first episode.
        recorded.append(video.RecordedEpisode(env))
        return recorded[0]

    act = _stochastic_actor(policy, values.seed) if values.stochastic else policy.act
    try:
        stats = evaluate(act, make, values.episodes, values.seed, _NUM_ENVS)
    except ServingError as error:
        raise ValueError(f"the server said: {error}") from error
    actions = "drawn" if values.stochastic else "deterministic"
    print(f"{source} in {env_id}: {actions} actions, seed {values.seed}")
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


def _on_server(values: Any, env_id: str, env_kwargs: dict[str, Any]) -> tuple[Client, str]:
    """The policy on a server, and what it is called in the report."""
    if values.saved_model is not None:
        raise ValueError("give --saved_model or --server, not both.")
    version = values.version_or_label
    which = int(version) if version is not None and version.isdecimal() else version
    model = values.model or default_base(env_id).name
    env = make_env(env_id, env_kwargs)
    try:
        space = env.observation_space
    finally:
        env.close()
    where = model if version is None else f"{model} ({version})"
    client = Client(values.server, model, which, observation_space=space)
    return client, f"{where} on {values.server}"


def _stochastic_actor(policy: LoadedPolicy | Client, seed: int) -> Callable[[Any], Any]:
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
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise ValueError(
            f"--env_kwargs must be a JSON object, got {text!r:.200}; for example "
            """--env_kwargs='{"frame_skip": 4}'."""
        )
    return arguments


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
