"""Helpers of the export's tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rich.console import Console

from export.progress import Progress

TINY = "tiny-ViT"


def quiet() -> Progress:
    """Progress into a buffer."""
    return Progress(Console(file=io.StringIO(), force_terminal=False))


@dataclass
class FileServer:
    """A loopback web server: `files` by path; `declared_bytes` overrides the length it announces."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    declared_bytes: int | None = None
    silent: bool = False
    requests: list[str] = field(default_factory=list)


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a FileServer while the block lasts."""
    state = FileServer()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            if state.silent:
                stop.wait(30)
                return
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(state.declared_bytes or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
