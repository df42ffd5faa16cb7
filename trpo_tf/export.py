"""Exports the policy of a training run as the next version of a served model.

python -m trpo_tf.export --logdir=runs/Walker2d --export_dir=saved_models/Walker2d
python -m trpo_tf.export --verify --saved_model=saved_models/Walker2d   # exports nothing
"""

from __future__ import annotations

import sys
from typing import Any

from absl import flags

from trpo_tf import command_line
from trpo_tf.model_card import training_summary
from trpo_tf.model_versions import default_base, find_version
from trpo_tf.run_directory import load_run
from trpo_tf.saved_model import export_policy
from trpo_tf.verification import verify_version

FLAGS = command_line.new_flags()
flags.DEFINE_string(
    "logdir", None, "The run directory; its last whole checkpoint is exported.", flag_values=FLAGS
)
flags.DEFINE_string(
    "export_dir",
    None,
    "The model's base directory, in which the version gets the next number. Default: "
    "saved_models/ and the environment's name.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "verify",
    True,
    "Prove the model in a fresh process, without this library, before it is published.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "saved_model",
    None,
    "Export nothing: verify this SavedModel (of a base directory the newest version).",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "keep_versions",
    None,
    "How many of the newest versions stay in the base directory; the others are removed. Never let "
    "it remove a version that a serving config names: servers unload what is gone. Default: all.",
    flag_values=FLAGS,
)


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    if values.saved_model is not None:
        _verify_only(values)
        return
    run = load_run(command_line.required(values, "logdir", "runs/Walker2d"))
    env_id = run.config.env
    version = export_policy(
        run.policy,
        values.export_dir or default_base(env_id),
        value_function=run.value_function,
        metadata=training_summary(run.record, run.step, run.state.get("env_steps")),
        verify=values.verify,
        keep_versions=values.keep_versions,
    )
    print(command_line.how_to_use(version, env_id, run.config.env_kwargs))


def _verify_only(values: Any) -> None:
    if values.logdir is not None or values.export_dir is not None:
        raise ValueError("--saved_model only verifies; leave out --logdir and --export_dir.")
    if not values.verify:
        raise ValueError("--saved_model only verifies; leave out --noverify.")
    version = find_version(values.saved_model)
    verify_version(version)
    print(f"Verified {version}")


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
