"""What the command lines share: flags are read, errors become one line, Ctrl-C ends quietly."""

from __future__ import annotations

import contextlib
import difflib
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from trpo_tf import startup
from trpo_tf.errors import TrainingStopped
from trpo_tf.printable import printable

_FAILURE = 1
_MISUSE = 2
_LONGEST = 2_000  # Of a line; a stranger's file may be quoted in it.
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError, TrainingStopped)


def run(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    argv: Sequence[str] | None = None,
    operands: Sequence[str] = (),
    failure: int = _FAILURE,
) -> int:
    """Reads the flags, runs `main` and turns what goes wrong into one line on standard error.

    A command line keeps its flags in a `FlagValues` of its own, so that two of them can be
    imported into one process. `--help` prints the flags. Exit statuses: 0, 1 (or `failure`) for an
    error that the line explains, 2 for flags that cannot be read, 130 after Ctrl-C. With the
    environment variable `TRPO_TF_VERBOSE=1` the traceback of an error is printed before its line.

    Args:
        main: called with the flag values once they are read, and with the operands; its module's
            docstring is the help.
        flag_values: where the flags were defined.
        argv: program name and arguments; None: `sys.argv`.
        operands: what the arguments that are no flags mean; there must be as many.
        failure: the status for an error that the line explains.

    Returns:
        The exit status.

    >>> values = new_flags()
    >>> _ = flags.DEFINE_integer("episodes", 20, "How many.", flag_values=values)
    >>> run(lambda values: print(values.episodes), values, ["evaluate", "--episodes=3"])
    3
    0
    """
    try:
        given = _read_flags(main, flag_values, sys.argv if argv is None else argv, operands)
    except flags.Error as error:
        return _report(f"error: {_flag_message(error, flag_values)}", _MISUSE)
    if given is None:
        return 0
    try:
        main(flag_values, *given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _report("interrupted", _INTERRUPTED)
    except _EXPECTED_ERRORS as error:
        if startup.is_verbose():
            traceback.print_exc()
        return _report(f"error: {_one_line(error)}", failure)
    return 0


def new_flags() -> flags.FlagValues:
    """A command line's own, empty set of flags, to define them in."""
    return flags.FlagValues()  # type: ignore[no-untyped-call]


def required(flag_values: flags.FlagValues, name: str, example: str) -> Any:
    """The value of a flag that has no default.

    Raises:
        ValueError: if the flag was not given.

    >>> values = new_flags()
    >>> _ = flags.DEFINE_string("env", None, "Gymnasium id.", flag_values=values)
    >>> _ = values(["evaluate"])
    >>> required(values, "env", "Walker2d")
    Traceback (most recent call last):
    ValueError: --env is required, for example --env=Walker2d.
    """
    value = flag_values[name].value
    if value is None:
        raise ValueError(f"--{name} is required, for example --{name}={example}.")
    return value


def how_to_use(version: Path, env_id: str, env_kwargs: Mapping[str, Any]) -> str:
    """What to do with an exported version: the commands that evaluate and serve it.

    Args:
        version: directory of the exported version.
        env_id: full Gymnasium id of the environment that the policy was trained in.
        env_kwargs: its arguments, so that the same environment is evaluated in.

    Returns:
        Three lines; the commands are quoted for a POSIX shell.

    >>> print(how_to_use(Path("/models/Walker2d/3"), "Walker2d-v5", {}).splitlines()[0])
    Exported to /models/Walker2d/3
    """
    base = version.parent
    evaluate = [
        "python",
        "-m",
        "trpo_tf.evaluate",
        f"--saved_model={base}",
        f"--env={printable(env_id)}",
    ]
    if env_kwargs:
        evaluate.append(f"--env_kwargs={json.dumps(dict(env_kwargs))}")
    evaluate.append("--episodes=20")
    serve = [
        "tensorflow_model_server",
        "--rest_api_port=8501",
        f"--model_name={base.name}",
        f"--model_base_path={base.absolute()}",
    ]
    return f"Exported to {version}\nEvaluate: {shlex.join(evaluate)}\nServe:    {shlex.join(serve)}"


def help_text(description: str, flag_values: flags.FlagValues) -> str:
    """A command's description and its flags, each with its default."""
    lines = [description.strip(), "", "Flags:"]
    for name in flag_values:
        flag = flag_values[name]
        if name != flag.name or name == "help":
            continue
        default = f" (default {flag.default_as_str.strip(chr(39))})" if flag.default_as_str else ""
        lines.append(f"  --{name}{default}\n      {flag.help}")
    return "\n".join(lines)


def _read_flags(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    argv: Sequence[str],
    operands: Sequence[str],
) -> list[str] | None:
    """The operands that were given; None where the flags were only to be explained."""
    if any(argument in ("--help", "-help", "-h", "--helpfull", "--helpshort") for argument in argv):
        description = sys.modules[main.__module__].__doc__ or ""
        print(help_text(description, flag_values))
        return None
    try:
        rest: list[str] = flag_values(list(argv))[1:]
    except RecursionError:  # absl's search for similar names, on a name of a thousand letters.
        raise flags.Error("a flag's name is too long; --help lists all flags.") from None
    if len(rest) < len(operands):
        raise flags.Error(f"expected {len(operands)} arguments: {', '.join(operands)}.")
    if len(rest) > len(operands):
        raise flags.Error(
            f"unexpected argument {rest[len(operands)]!r}; settings are given as --name=value."
        )
    return rest


def _flag_message(error: flags.Error, flag_values: flags.FlagValues) -> str:
    if not isinstance(error, flags.UnrecognizedFlagError):
        return _one_line(error)
    near = difflib.get_close_matches(error.flagname, list(flag_values), n=1, cutoff=0.5)
    hint = f" Did you mean --{near[0]}?" if near else ""
    return f"there is no flag --{error.flagname}.{hint} --help lists all flags."


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))[:_LONGEST] or type(error).__name__


def _report(line: str, status: int) -> int:
    with contextlib.suppress(OSError):  # A reader that has gone away (`| head`) is no second error.
        sys.stdout.flush()
    print(line, file=sys.stderr)
    return status
