"""Sets TensorFlow Serving up for exported policies, and moves its labels.

python -m trpo_tf.serving_config --saved_models=saved_models/Walker2d,saved_models/Hopper
python -m trpo_tf.serving_config --saved_models=saved_models/Walker2d    # its new version too
python -m trpo_tf.serving_config --try_out=Walker2d      # canary: the newest version that is served
python -m trpo_tf.serving_config --promote=Walker2d      # stable: where canary is
python -m trpo_tf.serving_config --roll_back=Walker2d    # stable: where it was before

A running server reads the change within its poll interval. Between two steps wait until the
server says AVAILABLE (GET /v1/models/Walker2d): it refuses labels to versions it has not loaded.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import flags
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf import command_line
from trpo_tf.atomic_files import atomic_write_text, make_directories
from trpo_tf.serving import model_config
from trpo_tf.serving.batching_flags import batching_of, define_batching_flags

_CONFIG_FILE, _BATCHING_FILE = "models.config", "batching.config"
# With splitting, max_batch_size is what one request may have; without it TensorFlow Serving refuses
# every request, warm-up requests too, that is larger than a batch.
_BATCHING = """\
max_batch_size {{ value: {batching.max_request_size} }}
enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {batching.max_batch_size} }}
batch_timeout_micros {{ value: {batching.timeout_micros} }}
max_enqueued_batches {{ value: {batching.max_enqueued} }}
num_batch_threads {{ value: {batching.num_threads} }}
"""

FLAGS = command_line.new_flags()
flags.DEFINE_string(
    "directory", "serving", f"Where {_CONFIG_FILE} and {_BATCHING_FILE} lie.", flag_values=FLAGS
)
flags.DEFINE_list(
    "saved_models",
    None,
    "Base directories of policies, separated by commas: their newest versions are served.",
    flag_values=FLAGS,
)
flags.DEFINE_string("try_out", None, "Model whose label canary moves.", flag_values=FLAGS)
flags.DEFINE_string("promote", None, "Model whose label stable moves on.", flag_values=FLAGS)
flags.DEFINE_string("roll_back", None, "Model whose label stable moves back.", flag_values=FLAGS)
define_batching_flags(FLAGS)
flags.DEFINE_integer(
    "num_batch_threads", 2, "Batches at the same time: cores.", lower_bound=1, flag_values=FLAGS
)

_MOVES: dict[str, tuple[Callable[[Any, str], int], str]] = {
    "try_out": (model_config.try_out, model_config.CANARY),
    "promote": (model_config.promote, model_config.STABLE),
    "roll_back": (model_config.roll_back, model_config.STABLE),
}


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    asked = [name for name in ("saved_models", *_MOVES) if values[name].value]
    if len(asked) != 1:
        raise ValueError(
            "give exactly one of --saved_models, --try_out, --promote and --roll_back, got "
            f"{len(asked)} of them."
        )
    path = Path(values.directory) / _CONFIG_FILE
    if values.saved_models:
        _serve(values, path)
        return
    move, label = _MOVES[asked[0]]
    name = values[asked[0]].value
    if not path.is_file():
        raise ValueError(f"{path} does not exist: write it with --saved_models first.")
    config = model_config.read_config(path)
    version = move(config, name)
    model_config.write_config(path, config)
    print(f"{name}: {label} is version {version}")


def server_commands(directory: Path, config: model_server_config_pb2.ModelServerConfig) -> str:
    """The commands that start TensorFlow Serving with a config, quoted for a POSIX shell.

    Args:
        directory: where the config and the batching parameters lie.
        config: the model config; its models are mounted under their own paths in the container.

    Returns:
        Two lines: the binary's and the container image's.
    """
    directory = directory.absolute()
    arguments = [
        "--rest_api_port=8501",
        "--port=8500",
        f"--model_config_file={directory / _CONFIG_FILE}",
        "--model_config_file_poll_wait_seconds=5",
        # At the first start no version is loaded yet when the labels are read.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={directory / _BATCHING_FILE}",
    ]
    bases = [Path(model.base_path) for model in config.model_config_list.config]
    mounts = [f"--volume={path}:{path}:ro" for path in (directory, *bases)]
    image = f"tensorflow/serving:{tf.__version__}"
    container = ["docker", "run", "--rm", "-p", "8501:8501", "-p", "8500:8500", *mounts, image]
    return (
        f"Binary:    {shlex.join(['tensorflow_model_server', *arguments])}\n"
        f"Container: {shlex.join([*container, *arguments])}"
    )


def _serve(values: Any, path: Path) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    if path.is_file():
        config = model_config.read_config(path)
    lines = []
    for base in map(Path, values.saved_models):
        version = model_config.add_newest(config, base)
        model = model_config.find_model(config, base.absolute().name)
        labels = ", ".join(f"{key}: {value}" for key, value in sorted(model.version_labels.items()))
        lines.append(f"{model.name}: version {version} is served ({labels})")
    make_directories(path.parent)
    batching = batching_of(values)._replace(num_threads=values.num_batch_threads)
    atomic_write_text(path.parent / _BATCHING_FILE, _BATCHING.format(batching=batching))
    model_config.write_config(path, config)
    print("\n".join([*lines, server_commands(path.parent, config)]))


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
