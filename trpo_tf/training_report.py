"""What the training command tells a person before and after: settings, commands to go on with."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path

from trpo_tf.config import TRPOConfig
from trpo_tf.presets import preset
from trpo_tf.printable import printable
from trpo_tf.setting import shown

_INDENT = "  "


def settings_table(config: TRPOConfig, origins: Mapping[str, str], width: int = 100) -> str:
    """All settings, grouped by where they come from, what the user said first.

    >>> config = TRPOConfig(env="LunarLanderContinuous-v3", total_steps=200_000)
    >>> origins = dict.fromkeys(config.to_json(), "default")
    >>> origins |= {"env": "flag", "total_steps": "preset LunarLanderContinuous"}
    >>> print(settings_table(config, origins))
    flag
      env=LunarLanderContinuous-v3
    preset LunarLanderContinuous (zoo: ...
      total_steps=200000
    default
      ...
    """
    groups: dict[str, list[str]] = {}
    for name in config.to_json():
        words = printable(f"{name}={shown(getattr(config, name))}")
        groups.setdefault(printable(origins.get(name, "default")), []).append(words)
    lines = []
    for origin in sorted(groups, key=lambda origin: (origin == "default", origin != "flag")):
        reason = preset(config.env).reason if origin.startswith("preset ") else ""
        title = f"{origin} ({reason})" if reason else origin
        lines += textwrap.wrap(title, width, subsequent_indent=_INDENT)
        lines += _wrapped(groups[origin], width)
    return "\n".join(lines)


def resume_command(logdir: Path, export_dir: str | None, config: TRPOConfig) -> str:
    """The command that continues a run; names the modules and clusters that it trusts once more.

    >>> resume_command(Path("runs/one"), None, TRPOConfig(env="CartPole-v1"))
    'python -m trpo_tf.train --resume --logdir=runs/one'
    """
    options = ["--resume", f"--logdir={logdir}"]
    if ":" in config.env:
        options.append(f"--env={config.env}")
    if config.sampler == "ray" and config.ray_address is not None:
        options.append(f"--ray_address={config.ray_address}")
    if export_dir is not None:
        options.append(f"--export_dir={export_dir}")
    return f"python -m trpo_tf.train {shlex.join(options)}"


def container_command(version: Path) -> str:
    """The command that serves an exported version, and later ones beside it, from a container.

    >>> container_command(Path("/models/Walker2d/3")).split()[6:8]
    ['/models/Walker2d:/models/Walker2d', '-e']
    """
    base, name = version.parent.absolute(), version.parent.name
    return (
        f"docker run --rm -p 8501:8501 -v {shlex.quote(f'{base}:/models/{name}')} "
        f"-e MODEL_NAME={shlex.quote(name)} tensorflow/serving"
    )


def _wrapped(words: list[str], width: int) -> list[str]:
    """Words in lines, never broken inside a word."""
    lines, line = [], ""
    for word in words:
        if line and len(_INDENT) + len(line) + 1 + len(word) > width:
            lines.append(_INDENT + line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, _INDENT + line]
