"""The development server's web library with its settings, sending every body back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import waitress


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


if __name__ == "__main__":
    server = waitress.create_server(
        application, host="127.0.0.1", port=0, threads=64, connection_limit=1000, ident=None
    )
    print(f"REST: http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
