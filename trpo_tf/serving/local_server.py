"""A server of this process: REST, gRPC, and a config file that is read again and again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from trpo_tf.serving.grpc_service import grpc_server
from trpo_tf.serving.rest_service import rest_service
from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.served_version import Batching, ServedVersion
from trpo_tf.serving.status_codes import ServingError

_MAX_BODY_BYTES = 64 * 2**20
_REST_THREADS = 64
_GRACE_SECONDS = 5.0


class LocalServer:
    """Serves models by TensorFlow Serving's protocols until it is closed.

    The web library is waitress: a thread for each request that is being answered, which is what
    a blocking run of a session needs. Variables: those of the models.

    Args:
        read_config: gives the model config that holds now; may raise OSError or ValueError.
        host: the address to listen on; of a name's several addresses the first.
        rest_port: 0 lets the system choose.
        grpc_port: the same.
        batching: None runs every request alone.
        poll_seconds: how often the config and the models' directories are looked at.
        log: takes one line about each thing that goes wrong.

    Raises:
        ImportError: if the extra `serving` is not installed.
        OSError, RuntimeError: if the host is unknown or a port is taken.
        ServingError, ValueError: if the first config cannot be applied.

    Attributes:
        host: the address on which it listens, as URLs have it: of IPv6 in brackets.
        rest_port, grpc_port: where it listens.
        models: what is served.
    """

    def __init__(
        self,
        read_config: Callable[[], model_server_config_pb2.ModelServerConfig],
        *,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        grpc_port: int = 0,
        batching: Batching | None = None,
        poll_seconds: float = 1.0,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        waitress = _import_waitress()
        self._wasyncore = waitress.wasyncore
        self._connections: dict[int, Any] = {}
        self._read_config = read_config
        self._log = log
        self._told = ""
        self._applied: Any = None
        self._closing = threading.Event()
        self.models = ServedModels(lambda path: ServedVersion(path, batching))
        with contextlib.ExitStack() as opened:
            opened.callback(self.models.close)
            self.refresh()
            # Handed a name with several addresses, waitress would make a server of another kind;
            # and it starts its threads before it finds that a port is taken.
            found = socket.getaddrinfo(host, rest_port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self.host = f"[{address[0]}]" if family is socket.AF_INET6 else str(address[0])
            listening = opened.enter_context(socket.create_server(address, family=family))
            self._web = waitress.create_server(
                rest_service(self.models),
                map=self._connections,
                sockets=[listening],
                threads=_REST_THREADS,
                connection_limit=1000,
                max_request_body_size=_MAX_BODY_BYTES,
                ident=None,
            )
            opened.callback(self._wasyncore.close_all, self._connections)
            opened.callback(self._web.task_dispatcher.shutdown)
            self.rest_port = int(self._web.effective_port)
            self._grpc, self.grpc_port = grpc_server(self.models, f"{self.host}:{grpc_port}")
            self._grpc.start()
            opened.pop_all()
        self._threads = [
            threading.Thread(target=self._web.run, name="rest", daemon=True),
            threading.Thread(target=self._watch, args=(poll_seconds,), name="config", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def refresh(self) -> None:
        """Reads the config and applies it.

        A config that HandleReloadConfigRequest brought holds until the one that is read changes.

        Raises:
            OSError, ValueError: if it cannot be read.
            ServingError: if it cannot be applied.
        """
        config = self._read_config()
        if config == self._applied:
            self.models.look_again()
        else:
            self._applied = config
            self.models.apply(config)

    def close(self) -> None:
        """Ends listening, lets the requests that are inside finish, and unloads everything."""
        self._closing.set()
        self._grpc.stop(grace=_GRACE_SECONDS).wait()
        self._web.task_dispatcher.shutdown()
        # In the thread that owns the connections.
        self._web.trigger.pull_trigger(lambda: self._wasyncore.close_all(self._connections))
        for thread in self._threads:
            thread.join()
        self.models.close()

    def _watch(self, poll_seconds: float) -> None:
        while not self._closing.wait(poll_seconds):
            try:
                self.refresh()
            except (OSError, ValueError, ServingError) as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 (without this thread nothing is read again)
                self._tell(repr(error))

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._log(f"the model config was not applied: {reason}")


def _import_waitress() -> Any:
    try:
        import waitress
        import waitress.wasyncore
    except ImportError as error:
        raise ImportError(
            "The development server needs a package that is not installed; run "
            'pip install "trpo_tf[serving]".'
        ) from error
    return waitress
