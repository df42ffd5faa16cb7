"""Exact states of environments as plain numbers: taken from some, given to others made anew.

This is for environments of which it is known what their next answers depend on: Gymnasium's classic
control and MuJoCo tasks, stepped in this process. Taken are the simulator's state, the random
generator, the steps that the time limit has counted, and which episodes have ended.

MuJoCo's own `mj_setState` gives back what the simulator integrates, but neither the positions of
bodies and of their centres of mass, whose way during the next step Ant and Humanoid reward, nor
what observations hold of velocities and forces: the next step would compute them, too late.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

_WRAPPERS = (gym.wrappers.TimeLimit, gym.wrappers.OrderEnforcing, gym.wrappers.PassiveEnvChecker)
_FAMILIES = re.compile(r"gymnasium\.envs\.(classic_control\.\w+|mujoco\.\w+_v[45])", re.ASCII)
# What rewards and observations read of MjData that is no part of MuJoCo's integration state.
_DERIVED = ("xpos", "xipos", "cinert", "cvel", "cfrc_ext", "qfrc_actuator", "qfrc_constraint")
_PACKAGES = "packages"
_AUTORESET = "autoreset"
_WORD = 2**64


def capture(env: Any) -> dict[str, np.ndarray] | None:
    """Takes the state of B environments, for `restore`.

    Args:
        env: a vector environment that has been reset.

    Returns:
        Numbers by name, [B, …] but for the text of the packages' versions; None if the state cannot
        be had: another vector environment than Gymnasium's `SyncVectorEnv`, unknown environments or
        wrappers, or environments that differ from each other in kind.

    >>> env = gym.make_vec("Pendulum-v1", num_envs=2, vectorization_mode="sync")
    >>> _ = env.reset(seed=0)
    >>> state = capture(env)
    >>> rewards = env.step(env.action_space.sample() * 0)[1]
    >>> restore(env, state), (env.step(env.action_space.sample() * 0)[1] == rewards).all().item()
    (True, True)
    """
    task = _task(env)
    if task is None:
        return None
    states = [_state(each) for each in _each(env)]
    forms = {tuple(array.shape for array in state.values()) for state in states}
    if len(forms) > 1:
        return None
    stacked = {name: np.stack([state[name] for state in states]) for name in states[0]}
    return {
        _PACKAGES: np.frombuffer(_packages(task).encode(), np.uint8),
        _AUTORESET: env.unwrapped._autoreset_envs.copy(),
        **{f"{task}.{name}": array for name, array in stacked.items()},
    }


def restore(env: Any, state: Mapping[str, np.ndarray]) -> bool:
    """Gives environments a state; each next answer is then the one that `capture`'s would give.

    Args:
        env: as many environments of the same kind, made with the same arguments. They are reset
            first, as their wrappers insist.
        state: of `capture`.

    Returns:
        Whether it was done. It is not where `capture` gives None, and not for a state that another
        version of Gymnasium or MuJoCo has left: what that one computes may differ.

    Raises:
        ValueError: the state is not one of such environments; what and where is in the message.
    """
    task = _task(env)
    if task is None:
        return False
    env.reset(seed=0)
    expected = capture(env)
    if expected is None:
        return False
    if _PACKAGES in state and not np.array_equal(state[_PACKAGES], expected[_PACKAGES]):
        return False
    check_form(state, expected)
    own = {name.removeprefix(f"{task}."): state[name] for name in state if name.startswith(task)}
    _check_values(own)
    for index, each in enumerate(_each(env)):
        _set_state(each, {name: array[index] for name, array in own.items()})
    env.unwrapped._autoreset_envs = state[_AUTORESET].copy()
    return True


def check_form(state: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Compares names, shapes and dtypes of two states.

    Raises:
        ValueError: they differ; names the first difference.
    """
    forms, wanted = (
        {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
        for arrays in (state, expected)
    )
    for name in sorted(forms.keys() | wanted.keys()):
        if forms.get(name) != wanted.get(name):
            raise ValueError(
                f"the state of the environments does not fit them: {name!r} must be "
                f"{wanted.get(name, 'absent')}, got {forms.get(name, 'nothing')}."
            )


def _task(env: Any) -> str | None:
    """What all environments are, such as "mujoco.ant_v5"; None if it is not known or not one."""
    if type(env) is not gym.vector.SyncVectorEnv:
        return None
    stacks = {tuple(type(layer) for layer in _layers(each)) for each in _each(env)}
    *wrappers, kind = stacks.pop()
    match = _FAMILIES.fullmatch(kind.__module__)
    if match is None or stacks or not set(wrappers).issubset(_WRAPPERS):
        return None
    generators = {type(each.np_random.bit_generator) for each in _each(env)}
    return match[1] if generators == {np.random.PCG64} else None


def _each(env: Any) -> list[gym.Env]:
    return env.unwrapped.envs


def _layers(env: Any) -> Iterator[Any]:
    """The wrappers from the outermost on, and last the task."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
    yield env


def _limits(env: gym.Env) -> list[Any]:
    return [layer for layer in _layers(env) if isinstance(layer, gym.wrappers.TimeLimit)]


def _packages(task: str) -> str:
    if not task.startswith("mujoco."):
        return f"gymnasium {gym.__version__}"
    import mujoco

    return f"gymnasium {gym.__version__}, mujoco {mujoco.__version__}"


def _is_mujoco(task: Any) -> bool:
    return type(task).__module__.startswith("gymnasium.envs.mujoco.")


def _state(env: gym.Env) -> dict[str, np.ndarray]:
    task: Any = env.unwrapped
    physics = _mujoco_state(task) if _is_mujoco(task) else _classic_state(task)
    return {
        "random": _random_words(env.np_random),
        "elapsed_steps": np.array([limit._elapsed_steps for limit in _limits(env)], np.int64),
        **physics,
    }


def _set_state(env: gym.Env, state: Mapping[str, np.ndarray]) -> None:
    task: Any = env.unwrapped
    _set_random_words(env.np_random, state["random"])
    for limit, elapsed in zip(_limits(env), state["elapsed_steps"], strict=True):
        limit._elapsed_steps = int(elapsed)
    if _is_mujoco(task):
        _set_mujoco_state(task, state)
    else:
        task.state = state["state"].astype(np.float32 if state["is_float32"] else np.float64)


def _classic_state(task: Any) -> dict[str, np.ndarray]:
    # The rest of what these environments change is drawn on the screen or counts steps behind an
    # episode's end, where a reset comes. Some begin episodes in one precision and go on in another.
    state = np.asarray(task.state)
    is_float32 = state.dtype == np.float32
    return {"state": state.astype(np.float64), "is_float32": np.array(is_float32)}


def _mujoco_state(task: Any) -> dict[str, np.ndarray]:
    import mujoco

    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    integration = np.empty(mujoco.mj_stateSize(task.model, kind))
    mujoco.mj_getState(task.model, task.data, integration, kind)
    derived = {name: getattr(task.data, name).copy() for name in _DERIVED}
    return {"integration": integration, **derived}


def _set_mujoco_state(task: Any, state: Mapping[str, np.ndarray]) -> None:
    import mujoco

    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(task.model, task.data, state["integration"], kind)
    for name in _DERIVED:
        getattr(task.data, name)[...] = state[name]


def _random_words(generator: np.random.Generator) -> np.ndarray:
    """The state of a PCG64: two numbers of 128 bits, and the half of a draw that is left over."""
    state: Any = generator.bit_generator.state
    numbers = state["state"]["state"], state["state"]["inc"]
    halves = [half for number in numbers for half in divmod(number, _WORD)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def _set_random_words(generator: np.random.Generator, words: np.ndarray) -> None:
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high * _WORD + low, "inc": inc_high * _WORD + inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }


def _check_values(state: Mapping[str, np.ndarray]) -> None:
    *_, has_uint32, uinteger = state["random"].T
    if has_uint32.max() > 1 or uinteger.max() >= 2**32 or state["elapsed_steps"].min(initial=0) < 0:
        raise ValueError(
            "the state of the environments holds numbers that no random generator or count of "
            "steps can have."
        )
