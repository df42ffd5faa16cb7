"""Environments by name, alone or vectorised, with errors that say what to do."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration

from trpo_tf.environment_ids import resolve_env_id
from trpo_tf.interruption import end_with_parent
from trpo_tf.single_env import SingleEnv

VECTORIZATIONS = ("auto", "sync", "async", "envpool", "native")

# Which of our extras brings what an environment's module imports.
_EXTRAS = {
    "gymnasium.envs.mujoco": "mujoco",
    "gymnasium.envs.box2d": "box2d",
    "gymnasium.envs.classic_control": "classic",
    "ale_py": "atari",
}


def make_env(
    env_id: str, env_kwargs: Mapping[str, Any] | None = None, render_mode: str | None = None
) -> gym.Env:
    """Makes one environment, to evaluate in or to film.

    An Atari game comes with the same preprocessing as its vector environment, because it is one of
    a single game; its reward is the game's score and its episodes are whole games.

    Args:
        env_id: as `resolve_env_id` takes it.
        env_kwargs: arguments of the environment.
        render_mode: "rgb_array" to film, "human" to watch; None: neither.

    Raises:
        ValueError: for an unknown id or a render mode that the environment lacks.
        ImportError: if a package is missing, with the command that installs it.
        TypeError: for arguments that the environment does not take.

    >>> make_env("CartPole").spec.id
    'CartPole-v1'
    """
    spec, env_kwargs = _spec(env_id), dict(env_kwargs or {})
    with _clear_errors(spec, env_kwargs):
        if _is_atari(spec):
            whole_games = {**env_kwargs, "reward_clipping": False, "episodic_life": False}
            return SingleEnv(_make_native(spec, 1, whole_games), render_mode)
        # An environment that draws nothing need not know the argument.
        drawing: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        return gym.make(spec.id, **drawing, **env_kwargs)


def make_vector_env(
    env_id: str,
    num_envs: int,
    vectorization: str = "auto",
    env_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
    end_with_thread: bool = False,
) -> gym.vector.VectorEnv:
    """Makes a vector environment that resets itself on the step after an episode's end.

    Args:
        env_id: as `resolve_env_id` takes it.
        num_envs: environments stepped at once.
        vectorization: "sync" steps them one after the other in this process, "async" in one process
            each, "envpool" in EnvPool's threads, "native" in the environment's own vector form;
            "auto" is what `best_vectorization` says.
        env_kwargs: arguments of the environment.
        seed: for EnvPool alone, which is seeded when it is made; others are seeded at their reset.
        end_with_thread: whether the processes of "async" are killed when the thread that calls
            this ends, even by SIGKILL and while they hang; on Linux alone.

    Raises:
        ValueError: for an unknown id or vectorization, num_envs < 1, or an environment that the
            vectorization asked for does not have.
        ImportError: if a package is missing, with the command that installs it.
        TypeError: for arguments that the environment does not take.

    >>> make_vector_env("CartPole", 3).num_envs
    3
    """
    if vectorization not in VECTORIZATIONS:
        raise ValueError(
            f"vectorization must be one of {', '.join(VECTORIZATIONS)}, got {vectorization!r}."
        )
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}. Typical values are 1 to 64.")
    spec, env_kwargs = _spec(env_id), dict(env_kwargs or {})
    if vectorization == "auto":
        vectorization = best_vectorization(env_id, env_kwargs)
    if vectorization == "envpool":
        return _make_envpool(spec, num_envs, env_kwargs, seed)
    is_bound = end_with_thread and vectorization == "async"
    with _clear_errors(spec, env_kwargs):
        if vectorization == "native":
            return _make_native(spec, num_envs, env_kwargs)
        return gym.make_vec(
            spec.id,
            num_envs,
            vectorization_mode=vectorization,
            vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP},
            wrappers=[functools.partial(_bound_to, os.getpid())] if is_bound else [],
            **env_kwargs,
        )


def _bound_to(maker: int, env: gym.Env) -> Any:
    """Wraps nothing; called in each environment's process, and for one more in the maker's own."""
    if os.getpid() != maker:
        end_with_parent()
    return env


def best_vectorization(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> str:
    """What "auto" stands for: "native" for Atari, "envpool" for MuJoCo's tasks, else "sync".

    EnvPool steps MuJoCo's tasks about twice as fast. It is taken where it is installed, beside the
    tasks themselves, which evaluation needs, and has the task in this version; and only with the
    task's own arguments, as it takes others.

    >>> best_vectorization("CartPole")
    'sync'
    """
    spec = _spec(env_id)
    if _is_atari(spec):
        return "native"
    is_mujoco = str(spec.entry_point).startswith("gymnasium.envs.mujoco")
    is_installed = all(importlib.util.find_spec(name) for name in ("envpool", "mujoco"))
    if not is_mujoco or env_kwargs or not is_installed:
        return "sync"
    import envpool

    return "envpool" if spec.id in envpool.list_all_envs() else "sync"


def _make_native(
    spec: registration.EnvSpec, num_envs: int, env_kwargs: dict[str, Any]
) -> gym.vector.VectorEnv:
    if spec.vector_entry_point is None:
        raise ValueError(
            f"{spec.id} has no vector form of its own; use vectorization 'sync', 'async' or "
            "'envpool'."
        )
    if _is_atari(spec):
        # Clipped rewards would report clipped returns; return scaling does what clipping is for.
        env_kwargs = {"reward_clipping": False, **env_kwargs}
    return gym.make_vec(spec.id, num_envs, vectorization_mode="vector_entry_point", **env_kwargs)


def _make_envpool(
    spec: registration.EnvSpec, num_envs: int, env_kwargs: dict[str, Any], seed: int
) -> gym.vector.VectorEnv:
    try:
        import envpool
    except ImportError as error:
        raise ImportError(
            'vectorization "envpool" needs EnvPool, which is not installed; run '
            'pip install "trpo_tf[envpool]".'
        ) from error
    pool_id = spec.id.removeprefix("ALE/")
    if pool_id not in envpool.list_all_envs():
        raise ValueError(f"EnvPool has no {spec.id}; use vectorization 'sync' or 'async'.")
    if _is_atari(spec):
        stickiness = spec.kwargs["repeat_action_probability"]
        env_kwargs = {"repeat_action_probability": stickiness, **env_kwargs}
    with _clear_errors(spec, env_kwargs), warnings.catch_warnings():
        # Its bounds are float64 in float32 spaces, of which Gymnasium warns when they are made.
        warnings.simplefilter("ignore")
        env = envpool.make(
            pool_id, env_type="gymnasium", num_envs=num_envs, seed=seed, **env_kwargs
        )
        _ = env.observation_space, env.action_space
    return env


def _spec(env_id: str) -> registration.EnvSpec:
    """The registered specification; the module before a colon has been imported by then."""
    return gym.spec(resolve_env_id(env_id).rpartition(":")[2])


def _is_atari(spec: registration.EnvSpec) -> bool:
    return spec.namespace == "ALE"


@contextmanager
def _clear_errors(spec: registration.EnvSpec, env_kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Turns what Gymnasium raises while making an environment into one clear line."""
    try:
        yield
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise ImportError(_missing_message(spec, error)) from error
    except TypeError as error:
        raise TypeError(
            f"{spec.id} cannot be made with the arguments {dict(env_kwargs)}: {error}"
        ) from error
    except gym.error.Error as error:
        raise ValueError(f"{spec.id} cannot be made: {error}") from error


def _missing_message(spec: registration.EnvSpec, error: Exception) -> str:
    entry_point = str(spec.entry_point)
    for module, extra in _EXTRAS.items():
        # The oldest MuJoCo ids are registered only to say where they have gone.
        if entry_point.startswith(module) and "have been moved" not in str(error):
            return (
                f"{spec.id} and its like need packages that are not installed; run "
                f'pip install "trpo_tf[{extra}]".'
            )
    return f"{spec.id} cannot be made: {error}"
