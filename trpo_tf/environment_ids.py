"""Names of environments: with or without version, from any module, near ones for a wrong one."""

from __future__ import annotations

import difflib
import importlib

import gymnasium as gym
from gymnasium.envs import registration


def resolve_env_id(env_id: str) -> str:
    """The full id of an environment: with its newest version where none is given.

    `module:Id-v0` imports `module` first and keeps the prefix. Atari games need no `ALE/`.

    Raises:
        ValueError: for an unknown id (naming near ones) or a module that cannot be imported.
        ImportError: for `ALE/…` without the atari extra.

    >>> resolve_env_id("CartPole")
    'CartPole-v1'
    """
    module, separator, name = env_id.rpartition(":")
    if module:
        _import_module(module, env_id)
    if name.startswith("ALE/"):
        _register_atari()
    found = _find(name)
    if not separator and (found is None or _is_old_atari(found)) and _atari_is_registered():
        found = _find(f"ALE/{name}") or _find(name)
    if found is None:
        raise ValueError(_unknown_id_message(env_id, name))
    return f"{module}{separator}{found}"


def _find(name: str) -> str | None:
    """The registered id that `name`, with or without version, means."""
    if name in gym.registry:
        return name
    try:
        namespace, base_name, version = registration.parse_env_id(name)
    except gym.error.Error:
        return None
    newest = registration.find_highest_version(namespace, base_name)
    if version is not None or newest is None:
        return None
    return registration.get_env_id(namespace, base_name, newest)


def _import_module(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"the module of {env_id!r:.200} cannot be imported: {error}. The part before the colon "
            "must be a Python module on the path that registers the environment."
        ) from error


def _register_atari() -> None:
    try:
        import ale_py
    except ImportError as error:
        raise ImportError(
            'Atari games need a package that is not installed; run pip install "trpo_tf[atari]".'
        ) from error
    gym.register_envs(ale_py)


def _atari_is_registered() -> bool:
    try:
        _register_atari()
    except ImportError:
        return False
    return True


def _is_old_atari(env_id: str) -> bool:
    """Whether this is a game under its id of before the ALE namespace, such as Pong-v4."""
    spec = gym.spec(env_id)
    return spec.namespace is None and str(spec.entry_point).startswith("ale_py")


def _unknown_id_message(env_id: str, name: str) -> str:
    base_name = name.rpartition("-v")[0] or name
    versions = sorted(
        spec.id for spec in gym.registry.values() if spec.id.rpartition("-v")[0] == base_name
    )
    if versions:
        return f"{env_id!r:.200} has no such version; there are {', '.join(versions)}."
    names = {spec.id.rpartition("-v")[0].lower(): spec for spec in gym.registry.values()}
    near = difflib.get_close_matches(base_name.lower(), names, n=1, cutoff=0.6)
    hint = f" Did you mean {_find(names[near[0]].id.rpartition('-v')[0])!r}?" if near else ""
    return (
        f"there is no environment {env_id!r:.200}.{hint} An environment of your own is given as "
        "'module:Id-v0', where importing the module registers it."
    )
