"""A server of OpenAI's embeddings route that is none: ``python -m tests.bench.echo_door PORT``."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answers each image with its URI's length; a wrong model with 400."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 200 if asked["model"] == "clip" and asked["modality"] == "image" else 400
        body = json.dumps({"data": [{"embedding": [float(len(uri))]} for uri in asked["input"]]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name for it
        """Nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Door).serve_forever()
