"""A viewer without a page, on the standard library, that can be made to fail in any way."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]


class FakeViewer:
    """Serves until it is killed. It keeps its data when restarted on the same port.

    Attributes:
        fault: called with the method and path; returns a response that replaces the regular one,
            or None.
        requests: the method and path of every request.
        connections: the number of connections opened so far.
    """

    def __init__(self, token: str | None = None, port: int = 0) -> None:
        self.token, self.port = token, port
        self.runs: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.records: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.connections = 0
        self.fault: Callable[[str, str], Answer | None] = lambda method, path: None
        self.start()

    def start(self) -> None:
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def kill(self) -> None:
        """Stop listening and cut all connections, like a killed process."""
        self._server.shutdown()
        self._server.server_close()
        self.cut_connections()

    def cut_connections(self) -> None:
        """Close the connections but keep running, as after a long idle time."""
        self._server.cut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def numbers(self) -> list[int]:
        return [record["number"] for record in self.records]

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return the regular response."""
        if method == "GET":
            images = sum(name.startswith("images/") for name in self.files)
            state = {"snapshots": len(self.records), "last": len(self.records) - 1, "images": images}
            return (200, json.dumps(state).encode()) if self.runs else (404, b'{"detail": "there is no such run"}')
        if re.fullmatch(r"/api/runs/[0-9a-f]{32}", path):
            self.runs[path] = body
        elif path.endswith(".png"):
            self.files[path.split("/", 4)[4]] = body
        else:
            number = int(path.rsplit("/", 1)[1])
            if number > len(self.records):
                last = len(self.records) - 1
                return 409, json.dumps({"detail": f"the next snapshot is {last + 1}", "last": last}).encode()
            self.records[number:] = [json.loads(body)] if number == len(self.records) else self.records[number:]
        return 204, b""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, viewer: FakeViewer, port: int) -> None:
        self.viewer, self.open = viewer, set[socket.socket]()
        super().__init__(("127.0.0.1", port), _Handler)

    def cut(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.viewer.connections += 1
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        viewer, body = self.server.viewer, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        viewer.requests.append((self.command, self.path))
        token = viewer.token and f"Bearer {viewer.token}"
        if token and self.headers.get("Authorization") != token:
            status, content = 401, b'{"detail": "the token is missing or wrong"}'
        else:
            status, content = viewer.fault(self.command, self.path) or viewer.answer(self.command, self.path, body)
        if status == 0:  # not even HTTP
            self.wfile.write(content)
            self.close_connection = True
            return
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def eventually(is_so: Callable[[], object], timeout_s: float = 60.0) -> bool:
    """Return whether a condition becomes true in time."""
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
