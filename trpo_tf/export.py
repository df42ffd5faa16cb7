"""Exports the policy of a training run as the next version of a served model.

python -m trpo_tf.export --logdir=runs/Walker2d --export_dir=saved_models/Walker2d
"""

from __future__ import annotations

import sys
from typing import Any

from absl import flags

from trpo_tf import command_line
from trpo_tf.model_card import training_summary
from trpo_tf.model_versions import default_base
from trpo_tf.run_directory import load_run
from trpo_tf.saved_model import export_policy

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


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    run = load_run(command_line.required(values, "logdir", "runs/Walker2d"))
    env_id = run.config.env
    version = export_policy(
        run.policy,
        values.export_dir or default_base(env_id),
        value_function=run.value_function,
        metadata=training_summary(
            run.config, run.record.origins, run.step, run.state.get("env_steps")
        ),
    )
    print(command_line.how_to_use(version, env_id, run.config.env_kwargs))


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
