"""Vector environments of every make, behind the few calls that samplers need."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.async_vector_env import AsyncState

from trpo_tf.failure import note_environment

# That a worker may take to close its environment, and the system to end a killed process, on a
# busy machine.
_END_SECONDS = 5.0
_NEXT_STEP = gym.vector.AutoresetMode.NEXT_STEP


class WorkersLost(RuntimeError):
    """Processes that step environments have died or hang; the message says which and how."""


def validate_vector_env(env: Any) -> None:
    """Checks that a sampler can step `env`.

    Raises:
        TypeError: for anything but a `gymnasium.vector.VectorEnv`.
        ValueError: for another autoreset mode than NEXT_STEP, or an environment that answers for
            fewer environments than it has.
    """
    if not isinstance(env, gym.vector.VectorEnv):
        raise TypeError(
            f"env must be a gymnasium.vector.VectorEnv, got {type(env).__name__}; make one with "
            "gymnasium.make_vec(id, num_envs=16)."
        )
    mode = autoreset_mode(env)
    if mode is not _NEXT_STEP:
        raise ValueError(
            f"the vector env's autoreset mode must be NEXT_STEP, got {getattr(mode, 'name', mode)};"
            ' set it with gymnasium.make_vec(id, num_envs, vector_kwargs={"autoreset_mode": '
            "gymnasium.vector.AutoresetMode.NEXT_STEP}), or as the argument autoreset_mode of an "
            "environment's own vector form."
        )
    batch_size = _batch_size(env)
    if batch_size != env.num_envs:
        raise ValueError(
            f"the vector env answers for {batch_size} of its {env.num_envs} environments at a time;"
            " make it with batch_size equal to num_envs."
        )


def autoreset_mode(env: Any) -> Any:
    """The mode in which `env` starts its next episodes; None if it does not say."""
    # The instance's own word first: some environments write their mode into the metadata
    # dictionary that all vector environments of a process share.
    mode = getattr(env.unwrapped, "autoreset_mode", None)
    return env.metadata.get("autoreset_mode") if mode is None else mode


def is_envpool(env: Any) -> bool:
    """Whether EnvPool steps the environment, which is seeded when it is made and never again."""
    return any(base.__module__.startswith("envpool.") for base in type(env.unwrapped).__mro__)


def reset(env: Any, seed: int, timeout: float | None = None) -> Any:
    """Starts an episode in every environment; environment i is seeded with `seed + i`.

    EnvPool keeps the random state that its own seed started. Returns the observations.

    Args:
        env: the vector env.
        seed: of its first environment.
        timeout: seconds that an AsyncVectorEnv's processes have for it; None: no end.

    Raises:
        WorkersLost: worker processes of an AsyncVectorEnv are gone or hang.
    """
    with _faults_named(env, seed, timeout):
        if timeout is not None and isinstance(env, gym.vector.AsyncVectorEnv):
            env.reset_async(seed=seed)
            return env.reset_wait(timeout)[0]
        observations, _ = env.reset() if is_envpool(env) else env.reset(seed=seed)
    return observations


def step(
    env: Any, actions: Any, seed: int | None = None, timeout: float | None = None
) -> tuple[Any, Any, Any, Any]:
    """One step of every environment: observations, rewards, terminated, truncated.

    Args:
        env: the vector env.
        actions: one for each environment.
        seed: with which it was reset, for errors.
        timeout: seconds that an AsyncVectorEnv's processes have for it; None: no end.

    Raises:
        WorkersLost: worker processes of an AsyncVectorEnv are gone or hang.
    """
    with _faults_named(env, seed, timeout):
        if timeout is not None and isinstance(env, gym.vector.AsyncVectorEnv):
            env.step_async(actions)
            return env.step_wait(timeout)[:4]
        return env.step(actions)[:4]


def close(env: Any) -> None:
    """Closes `env` and all its worker processes: those beside a dead one, stopped and hung ones."""
    if not _processes(env):
        env.close()
        return
    if not _exit_codes(env) and not _is_interrupted(env):
        _ask_to_end(env)
    # SIGTERM, which Gymnasium sends, would only be noted by a worker that was started while this
    # process noted it, and never arrive at a stopped one; and who is dead, or has answered, must
    # not be waited for again.
    kill_workers(env)
    env.unwrapped._state = AsyncState.DEFAULT
    env.close(terminate=True)


def kill_workers(env: Any) -> bool:
    """Ends the worker processes of an AsyncVectorEnv, hung ones too; False if it has none.

    Whoever waits for their answer, in another thread, gets `WorkersLost`.
    """
    for process in _processes(env):
        process.kill()
    return bool(_processes(env))


def name(env: Any) -> str:
    """The environment's id, or its class if it was made without one."""
    # EnvPool's own specification has none.
    env_id = getattr(getattr(env.unwrapped, "spec", None), "id", None)
    return type(env.unwrapped).__name__ if env_id is None else str(env_id)


def _batch_size(env: Any) -> int:
    unwrapped = env.unwrapped
    if is_envpool(env):
        return int(unwrapped.config["batch_size"])
    return int(getattr(unwrapped, "batch_size", env.num_envs))


@contextlib.contextmanager
def _faults_named(env: Any, seed: int | None, timeout: float | None) -> Iterator[None]:
    """Turns a broken pipe or a late answer into an error that says which processes it was."""
    try:
        yield
    except (BrokenPipeError, ConnectionResetError, EOFError) as error:
        if not _processes(env):
            raise
        raise WorkersLost(_dead_workers_message(env, seed)) from error
    except multiprocessing.TimeoutError as error:
        hung = {
            index: f"no answer for {timeout:g} s"
            for index, pipe in enumerate(env.parent_pipes)
            if not pipe.poll()
        }
        message = _lost_message(env, seed, "hang", hung)
        # Nobody may wait for them again, and stopped ones would outlive this process.
        kill_workers(env)
        for process in env.processes:
            process.join(timeout=_END_SECONDS)
        raise WorkersLost(message) from error
    except Exception as error:
        misfit = _misfit(env, error) if isinstance(error, ValueError | TypeError) else None
        if misfit is not None:
            raise ValueError(misfit) from error
        _note_origin(error)
        raise


def _note_origin(error: Exception) -> None:
    """Notes what an AsyncVectorEnv prints and keeps to itself: whose process raised, and where."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals
        if frame.f_code.co_name == "_raise_if_errors" and {"index", "trace"} <= found.keys():
            note_environment(error, found["index"], found["trace"])


def _misfit(env: Any, error: Exception) -> str | None:
    """Which observation a SyncVectorEnv could not put beside the others; None if that is not it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not any("concatenate" in frame.name for frame in frames):
        return None
    space = env.single_observation_space
    for index, observation in enumerate(getattr(env.unwrapped, "_env_obs", ())):
        with warnings.catch_warnings():
            # Gymnasium warns of what is no array, which is told here.
            warnings.simplefilter("ignore")
            fits = space.contains(observation)
        if not fits:
            kind = type(observation).__name__
            if isinstance(observation, np.ndarray):
                kind = f"array of shape {list(observation.shape)} and dtype {observation.dtype}"
            return f"environment {index} gave an observation that is not of its {space}: {kind}."
    return None


def _processes(env: Any) -> list[Any]:
    return getattr(env.unwrapped, "processes", [])


def _is_interrupted(env: Any) -> bool:
    """Whether Ctrl-C cut a step short: some answers are taken, so waiting for all would not end."""
    state = getattr(env.unwrapped, "_state", AsyncState.DEFAULT)
    return isinstance(state, AsyncState) and state is not AsyncState.DEFAULT


def _ask_to_end(env: Any) -> None:
    """Lets workers that wait for a command close their environments, and gives them some time."""
    for pipe in env.unwrapped.parent_pipes:
        # There is no pipe to a worker whose environment has raised: it ends by itself.
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.send(("close", None))
    deadline = time.monotonic() + _END_SECONDS
    for process in _processes(env):
        process.join(max(0.0, deadline - time.monotonic()))


def _exit_codes(env: Any) -> dict[int, int]:
    """Exit codes of the workers that have ended, by their number."""
    return {
        index: process.exitcode
        for index, process in enumerate(_processes(env))
        if process.exitcode is not None
    }


def _dead_workers_message(env: Any, seed: int | None) -> str:
    for process in _processes(env):
        process.join(timeout=0.1)
    deaths = {index: _how(code) for index, code in _exit_codes(env).items()}
    return _lost_message(env, seed, "are gone", deaths)


def _lost_message(env: Any, seed: int | None, what: str, reasons: dict[int, str]) -> str:
    workers = [
        f"environment {index} ({reason})"
        + ("" if seed is None else f" of seed {seed + index}")
        + f" in process {_processes(env)[index].pid}"
        for index, reason in reasons.items()
    ]
    return (
        f"worker processes of {name(env)} {what}: {', '.join(workers) or 'for no known reason'}. "
        "Rewards and observations of the running episodes are lost; make the vector env anew."
    )


def _how(exit_code: int) -> str:
    return (
        f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    )
