"""Trains a policy by TRPO in a Gymnasium environment, and exports it for TensorFlow Serving.

python -m trpo_tf.train --env=Walker2d

Settings that are not given come from the environment's preset, the others from the defaults; the
run prints and saves all of them with their origin. Ctrl-C (or SIGTERM) finishes the update under
way, writes a checkpoint and ends with status 130 (143); --resume goes on from there, and from any
other end, a kill included. A second Ctrl-C ends at once.
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from trpo_tf import (
    assembly,
    atomic_files,
    command_line,
    startup,
    training_report,
    training_session,
)
from trpo_tf.config import TRPOConfig, is_switch, parse_setting, setting_help, setting_names
from trpo_tf.interruption import Interruption
from trpo_tf.learning_curve import plot_learning_curve
from trpo_tf.metrics import ProgressLog
from trpo_tf.model_versions import default_base
from trpo_tf.printable import printable
from trpo_tf.progress_display import make_display, readable
from trpo_tf.training_loop import TrainingLoop
from trpo_tf.training_session import Finished, Session

FLAGS = command_line.new_flags()
for _name in setting_names():
    _define = flags.DEFINE_bool if is_switch(_name) else flags.DEFINE_string
    _define(_name, None, setting_help(_name), flag_values=FLAGS)
flags.DEFINE_string(
    "logdir", None, "The run directory. Default runs/<Env>-<seed>-<time>.", flag_values=FLAGS
)
flags.DEFINE_string(
    "export_dir",
    None,
    "The saved model's directory, which gets a new version. Default saved_models/<Env>.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "resume",
    False,
    "Continue the run in --logdir from its last whole checkpoint; settings are those of the run.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "init_from", None, "A run directory whose weights a new run begins with.", flag_values=FLAGS
)
flags.DEFINE_enum(
    "progress",
    "auto",
    ["auto", "bar", "lines", "none"],
    "How progress is shown: a bar, lines, none, or auto: a bar on a terminal and lines elsewhere.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "verbose", False, "Show TensorFlow's own messages and tracebacks.", flag_values=FLAGS
)


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    if values.verbose and not startup.is_verbose():
        _restart_verbosely()
    with _warnings_as_lines():
        given = given_settings(values)
        session = _resume(values, given) if values.resume else _begin(values, given)
        if isinstance(session, Finished):
            print(
                f"{values.logdir} has trained all of its {session.env_steps:,} steps and left "
                f"{printable(session.exported)}. A larger --total_steps goes on."
            )
            return
        try:
            stopped_by = _train(session, values)
        finally:
            session.close()
    if stopped_by is not None:
        sys.exit(128 + stopped_by)


def given_settings(values: flags.FlagValues) -> dict[str, Any]:
    """The settings that were given as flags, in their own types.

    Raises:
        ValueError: a text that is no value of its setting.
    """
    given = {name: values[name].value for name in setting_names()}
    return {
        name: value if is_switch(name) else parse_setting(name, value)
        for name, value in given.items()
        if value is not None
    }


def _begin(values: Any, given: Mapping[str, Any]) -> Session:
    if values.init_from is None:
        command_line.required(values, "env", "Walker2d")
    config, origins = training_session.settle(given, values.init_from)
    _prepare(values, config)
    print(training_report.settings_table(config, origins), flush=True)
    logdir = values.logdir or _default_logdir(config)
    return training_session.begin(config, origins, logdir, sys.argv, values.init_from)


def _resume(values: Any, given: Mapping[str, Any]) -> Session | Finished:
    logdir = command_line.required(values, "logdir", "runs/Walker2d-0")
    if values.init_from is not None:
        raise ValueError("--init_from begins a new run, --resume continues one. Give one of them.")
    record = training_session.changed_record(given, logdir)
    _prepare(values, record.config)
    session = training_session.resume(given, logdir, sys.argv)
    if isinstance(session, Session):
        print(training_report.settings_table(record.config, record.origins), flush=True)
    return session


def _prepare(values: Any, config: TRPOConfig) -> None:
    """All that can be refused, and all that must be set, before anything is made."""
    _check_writable(_export_dir(values, config))
    assembly.set_up_tensorflow(config)


def _train(session: Session, values: Any) -> int | None:
    """Trains and, when all steps are made, exports; returns the signal that came before, if any."""
    run, config = session.run, session.run.record.config
    print(_opening(session), flush=True)
    is_done = session.state.get("env_steps", 0) >= config.total_steps
    display = make_display("none" if is_done else values.progress, config.env, config.total_steps)
    progress = session.state.get("progress", {}) if session.is_resumed else None
    with (
        ProgressLog(run.progress_path, display, run.tensorboard_path, progress) as log,
        Interruption() as interruption,
    ):
        loop = TrainingLoop(session, log)
        if config.execution != "eager":
            log.note("Compiling the update, which takes some seconds.")
        is_done = loop.run(interruption)
        if is_done:
            version = loop.publish(_export_dir(values, config))
            # Before the run is marked as finished, after which nothing of it is done again.
            curve = _draw_curve(session)
            loop.save(exported=str(version))
    if is_done:
        _report(session, loop, version, curve)
        return None
    number = interruption.signal_number
    assert number is not None
    print(
        f"{number.name}: stopped after {loop.env_steps:,} steps. Continue with:\n"
        f"  {training_report.resume_command(run.path, values.export_dir, config)}"
    )
    return int(number)


def _opening(session: Session) -> str:
    if not session.is_resumed:
        return f"Training in {session.run.path}"
    how = "go on exactly where they were" if session.environments_go_on else "begin with a reset"
    is_replaying = session.run.record.config.replay_rollouts > 1
    lost = ", and the rollouts that it would replay are collected anew" if is_replaying else ""
    return f"Continuing in {session.run.path}; its environments {how}{lost}."


def _draw_curve(session: Session) -> str:
    """Draws the learning curve; returns a line about it."""
    run = session.run
    try:
        plot_learning_curve(run.progress_path, run.learning_curve_path, run.record.config.env)
    except ImportError as error:
        return str(error)
    return f"Learning curve: {run.learning_curve_path}"


def _report(session: Session, loop: TrainingLoop, version: Path, curve: str) -> None:
    run, config = session.run, session.run.record.config
    print(f"Trained for {loop.env_steps:,} steps in {loop.updates:,} updates: {run.path}")
    if loop.evaluation is not None:
        returns = loop.evaluation.returns
        print(f"Evaluation: {readable(np.mean(returns))} ± {readable(np.std(returns))}")
    if loop.best_return is not None:
        print(f"Best evaluation: {readable(loop.best_return)}, kept in {run.best_policy_path}")
    print(curve)
    print(command_line.how_to_use(version, config.env, config.env_kwargs))
    print(f"      or: {training_report.container_command(version)}")


def _export_dir(values: Any, config: TRPOConfig) -> Path:
    return Path(values.export_dir or default_base(config.env))


def _default_logdir(config: TRPOConfig) -> Path:
    time = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{default_base(config.env).name}-{config.seed}-{time}"
    path, count = Path("runs", name), 1
    while path.exists():
        count += 1
        path = Path("runs", f"{name}-{count}")
    return path


def _check_writable(export_dir: Path) -> None:
    """Finds out before the training, not after it, that its result cannot be written."""
    try:
        atomic_files.make_directories(export_dir)
        with tempfile.TemporaryFile(dir=export_dir):
            pass
    except OSError as error:
        raise OSError(
            f"The export directory {export_dir} cannot be written: {error.strerror or error}. "
            "Choose another --export_dir."
        ) from error


def _restart_verbosely() -> None:
    """TensorFlow has started in silence by now, so the process begins again."""
    environment = {**os.environ, "TRPO_TF_VERBOSE": "1"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings as one line each, without the source line that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
