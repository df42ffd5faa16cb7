"""Serves exported policies for development, by TensorFlow Serving's REST and gRPC protocols.

python -m trpo_tf.serving.dev_server --saved_model=saved_models/Walker2d
python -m trpo_tf.serving.dev_server --model_config_file=serving/models.config

For machines without TensorFlow Serving's own server, which is what to use in production.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import flags
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf import command_line
from trpo_tf.model_versions import check_base
from trpo_tf.serving.batching_flags import batching_of, define_batching_flags
from trpo_tf.serving.local_server import LocalServer
from trpo_tf.serving.model_config import read_config
from trpo_tf.serving.status_codes import ServingError

FLAGS = command_line.new_flags()
flags.DEFINE_list(
    "saved_model",
    None,
    "Base directories of policies, separated by commas; the newest version of each is served. A "
    "SavedModel is a program: serve only those whose source you trust.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model_config_file",
    None,
    "A model config instead, as `python -m trpo_tf.serving_config` writes it.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "host", "127.0.0.1", "The address to listen on; others reach only 0.0.0.0.", flag_values=FLAGS
)
flags.DEFINE_integer("rest_api_port", 8501, "Port of REST; 0: any free one.", flag_values=FLAGS)
flags.DEFINE_integer("port", 8500, "Port of gRPC; 0: any free one.", flag_values=FLAGS)
flags.DEFINE_float(
    "poll_seconds",
    1.0,
    "How often the config and the models' directories are looked at.",
    lower_bound=0.01,
    flag_values=FLAGS,
)
flags.DEFINE_bool("enable_batching", False, "Put concurrent requests together.", flag_values=FLAGS)
define_batching_flags(FLAGS)


def main(values: Any) -> None:
    """Runs the command line with flags that have been read."""
    # It says once for each process that sessions are old; servers load models so.
    tf.get_logger().setLevel("ERROR")
    # Waiting requests are what batching is for.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    batching = None
    if values.enable_batching:
        batching = batching_of(values)
    try:
        server = LocalServer(
            _config_reader(values),
            host=values.host,
            rest_port=values.rest_api_port,
            grpc_port=values.port,
            batching=batching,
            poll_seconds=values.poll_seconds,
            log=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (ServingError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    print(
        "This server is for development: no TLS, no authentication; use TensorFlow Serving in "
        "production.\n"
        f"REST: http://{server.host}:{server.rest_port}\n"
        f"gRPC: grpc://{server.host}:{server.grpc_port}",
        flush=True,
    )
    _wait_for_the_end()
    server.close()


def newest_versions(bases: list[str]) -> model_server_config_pb2.ModelServerConfig:
    """A model config that serves the newest version of each policy.

    Raises:
        ValueError: if a directory is missing or itself one version, or two have the same name.
    """
    config = model_server_config_pb2.ModelServerConfig()
    paths = {Path(base).absolute().name: Path(base).absolute() for base in bases}
    if len(paths) < len(bases):
        raise ValueError(f"models are named by their directories, which must differ, got {bases}.")
    for name, path in paths.items():
        if not path.is_dir():
            raise ValueError(f"no SavedModel at {path}: there is no directory.")
        check_base(path)
        config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    return config


def _config_reader(values: Any) -> Callable[[], model_server_config_pb2.ModelServerConfig]:
    if (values.saved_model is None) == (values.model_config_file is None):
        raise ValueError(
            "give --saved_model, for example --saved_model=saved_models/Walker2d, or "
            "--model_config_file."
        )
    if values.model_config_file is not None:
        return lambda: read_config(values.model_config_file)
    config = newest_versions(values.saved_model)
    return lambda: config


def _wait_for_the_end() -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    sys.exit(command_line.run(main, FLAGS))
