"""What a run directory says about its run: `config.json`, written once and read strictly."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from trpo_tf import atomic_files
from trpo_tf.config import TRPOConfig, check_name
from trpo_tf.space_json import space_from_json, space_to_json

_FORMAT = "trpo_tf run 1"
_MAX_BYTES = 16_000_000
_KEYS = ("format", "settings", "origins", "observation_space", "action_space", "sessions")
_SESSION_TYPES: dict[str, tuple[type, ...]] = {
    "started": (str,),
    "command_line": (list,),
    "python": (str,),
    "versions": (dict,),
    "git_revision": (str, type(None)),
    "platform": (str,),
    "processor": (str,),
    "instruction_sets": (list,),
    "cpus": (int,),
    "intra_op_threads": (int,),
    "inter_op_threads": (int,),
    "accelerators": (list,),
    "variables": (dict,),
}


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The settings of a run, where each came from, and what it ran with.

    Attributes:
        config: the settings.
        origins: for each setting "default", "preset <name>", "flag" or the like.
        observation_space: of one environment.
        action_space: of one environment.
        sessions: what `provenance.describe_session` gave, once for the start and once for each
            time that the run was resumed.
    """

    config: TRPOConfig
    origins: Mapping[str, str]
    observation_space: gym.Space
    action_space: gym.Space
    sessions: tuple[Mapping[str, Any], ...] = ()

    def resumed(self, session: Mapping[str, Any]) -> RunRecord:
        """The record with one more session."""
        return dataclasses.replace(self, sessions=(*self.sessions, session))

    def check_spaces(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        """Refuses an environment that the run's models were not made for.

        Raises:
            ValueError: a space differs; names both.
        """
        pairs = (
            ("observation", self.observation_space, observation_space),
            ("action", self.action_space, action_space),
        )
        for kind, own, given in pairs:
            if space_to_json(own) != space_to_json(given):
                raise ValueError(
                    f"The run was made in {self.config.env} with {kind} space {own}, but this "
                    f"environment has {given}. Resume in the same environment and versions, or "
                    "start a new run."
                )


def write_record(path: str | os.PathLike[str], record: RunRecord) -> None:
    """Writes (or replaces) a `config.json` in one step.

    Raises:
        OSError: it cannot be written; names the path.
    """
    content = {
        "format": _FORMAT,
        "settings": record.config.to_json(),
        "origins": dict(record.origins),
        "observation_space": space_to_json(record.observation_space),
        "action_space": space_to_json(record.action_space),
        "sessions": [dict(session) for session in record.sessions],
    }
    atomic_files.atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_record(path: str | os.PathLike[str]) -> RunRecord:
    """Reads a `config.json`; settings that it lacks take their defaults.

    Nothing in the file is executed or imported.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds unknown keys, or values of a wrong type or range; one
            sentence that names the file and what is wrong.
    """
    file = Path(path)
    try:
        return _parse(_read_json(file))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be used: {error or type(error).__name__}") from error


def _read_json(path: Path) -> Any:
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than the {_MAX_BYTES} that are allowed.")
    return json.loads(path.read_bytes())


def _parse(content: Any) -> RunRecord:
    _check_keys(content, _KEYS, "it")
    if content.get("format") != _FORMAT:
        raise ValueError(
            f"its format must be {_FORMAT!r}, got {content.get('format')!r:.80}. Use the version "
            "of trpo_tf that wrote it."
        )
    origins = content.get("origins", {})
    _check_type(origins, (dict,), "origins")
    for name, origin in origins.items():
        check_name(name)
        _check_type(origin, (str,), f"origins[{name!r}]")
    sessions = content.get("sessions", [])
    _check_type(sessions, (list,), "sessions")
    for session in sessions:
        _check_keys(session, tuple(_SESSION_TYPES), "a session")
        for name, value in session.items():
            _check_type(value, _SESSION_TYPES[name], name)
    return RunRecord(
        TRPOConfig.from_json(content.get("settings")),
        origins,
        space_from_json(content.get("observation_space")),
        space_from_json(content.get("action_space")),
        tuple(sessions),
    )


def _check_keys(value: Any, allowed: tuple[str, ...], what: str) -> None:
    _check_type(value, (dict,), what)
    for name in value:
        if name not in allowed:
            raise ValueError(f"{what} holds the unknown key {name!r:.80}; known are {allowed}.")


def _check_type(value: Any, kinds: tuple[type, ...], what: str) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
        expected = " or ".join(words.get(kind, "null") for kind in kinds)
        raise ValueError(f"{what} must be {expected}, got {value!r:.80}.")
