"""The numbered versions of a served model, `<base>/1`, `<base>/2` and so on."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from trpo_tf.atomic_files import remove_directory

_MODEL_FILE = "saved_model.pb"
_SHOWN_ENTRIES = 5


def default_base(env_id: str) -> Path:
    """Where a policy goes that nobody names a directory for, from the working directory.

    Raises:
        ValueError: if the id, out of a stranger's file say, would lead to another place.

    >>> default_base("Walker2d-v5"), default_base("my_module:ALE/Pong-v5")
    (PosixPath('saved_models/Walker2d'), PosixPath('saved_models/Pong'))
    """
    name = re.sub(r"-v\d+$", "", re.split("[:/]", env_id)[-1])
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"{env_id!r:.80} gives no name for a model's directory. Give --export_dir."
        )
    return Path("saved_models") / name


def next_version(base: Path) -> int:
    """The number after the highest name of digits in a base directory; 1 if there is none.

    >>> next_version(Path("/nowhere"))
    1
    """
    names = os.listdir(base) if base.is_dir() else []
    return max((int(name) for name in names if _is_number(name)), default=0) + 1


def find_version(path: str | os.PathLike[str]) -> Path:
    """The directory of a SavedModel: the path itself, or the newest whole version inside it.

    Raises:
        ValueError: if there is no SavedModel, saying what was found instead.
    """
    base = Path(path)
    if (base / _MODEL_FILE).is_file():
        return base
    if not base.is_dir():
        what = "a file" if base.exists() else "nothing"
        raise ValueError(f"no SavedModel at {base}: there is {what}. {_expected(base)}")
    versions = whole_versions(base)
    if not versions:
        raise ValueError(f"no SavedModel at {base}: found {_listing(base)}. {_expected(base)}")
    return versions[-1]


def whole_versions(base: Path) -> list[Path]:
    """The directories of the SavedModels in a base directory, in the order of their numbers.

    >>> whole_versions(Path("/nowhere"))
    []
    """
    entries = list(base.iterdir()) if base.is_dir() else []
    return sorted(
        (e for e in entries if _is_number(e.name) and (e / _MODEL_FILE).is_file()),
        key=lambda entry: int(entry.name),
    )


def check_base(base: Path) -> None:
    """Refuses a version's own directory where a directory of versions is needed.

    Raises:
        ValueError: if it is one, naming its parent.
    """
    if (base / _MODEL_FILE).is_file():
        raise ValueError(
            f"{base} is one version itself; give the directory of the versions, "
            f"{base.absolute().parent}."
        )


def remove_old_versions(base: Path, keep: int) -> list[Path]:
    """Removes all but the newest versions; returns the directories that it removed.

    TensorFlow Serving looks at the directory again and again, and unloads a version that is gone
    from it, also one that its config names: requests for that version, or for a label that leads
    to it, fail from then on. (The development server keeps a version that its config names.)

    Args:
        base: the model's base directory.
        keep: how many stay, at least 1, and enough that every version which a serving config
            names is among them.
    """
    removed = []
    for version in whole_versions(base)[:-keep]:
        # Another exporter may be removing it too.
        with contextlib.suppress(FileNotFoundError):
            remove_directory(version)
            removed.append(version)
    return removed


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _listing(directory: Path) -> str:
    names = sorted(os.listdir(directory))
    if not names:
        return "an empty directory"
    shown = ", ".join(names[:_SHOWN_ENTRIES])
    return f"only {shown}" + (" and more" if len(names) > _SHOWN_ENTRIES else "")


def _expected(base: Path) -> str:
    if (base / "config.json").is_file():
        return (
            "It looks like a run directory: write its policy as a SavedModel with "
            f"`python -m trpo_tf.export --logdir={base}`."
        )
    return (
        f"Expected {_MODEL_FILE}, or versions with names of digits that hold one: the directory "
        "that export_policy or --export_dir was given."
    )
