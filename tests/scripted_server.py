"""An HTTP server whose answers are written down beforehand."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def scripted_server(answers: Sequence[tuple[int, bytes] | None]) -> Iterator[tuple[str, list[str]]]:
    """Gives the answers in turn (None: never one); yields its URL and the requests it got."""
    requests: list[str] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append(f"{self.command} {self.path}")
            answer = answers[len(requests) - 1]
            if answer is None:
                ended.wait()
                return
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_GET = do_POST  # noqa: N815 (the library's name)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
