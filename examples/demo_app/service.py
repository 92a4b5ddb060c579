"""What the two services of the demo share: a small HTTP server of the standard library."""

from __future__ import annotations

import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType


class Handler(BaseHTTPRequestHandler):
    """Answers requests with JSON; one thread a connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self, message: object, status: int = 200) -> None:
        """Send *message* as the answer."""
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of each request."""


class Service(ThreadingHTTPServer):
    """A server on a port of this machine that the system chooses."""

    daemon_threads = True

    def __init__(self, handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    def run(self, program: str) -> None:
        """Serve until SIGTERM; say on stdout where, in one line of JSON."""
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        door = f"127.0.0.1:{self.server_address[1]}"
        ready = {
            "event": "ready",
            "program": program,
            "pid": os.getpid(),
            "listeners": {"http": door},
        }
        print(json.dumps(ready), flush=True)
        self.serve_forever()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
