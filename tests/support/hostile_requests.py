"""Requests that a page's server must survive, for the tests of the live page and the explorer."""

from __future__ import annotations

import http.client
import json
import struct
import zlib
from typing import Any

import httpx
from hypothesis import strategies as st

from tfviz.viewer.page_server import PageServer


def raw(server: PageServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Send a request without normalizing its address."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def sign_in(client: httpx.Client, token: str, **headers: str) -> httpx.Response:
    return client.post("/", data={"token": token}, headers=headers)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side: int) -> bytes:
    """Return a PNG with a large size in its header and few bytes of pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class Client:
    """Sends requests on one connection, and reconnects when it breaks."""

    def __init__(self, server: PageServer) -> None:
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=20)

    def ask(self, verb: str, address: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        try:
            self.connection.request(verb, address, body, headers or {})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        # a response before the end of a body closes the connection
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection.request(verb, address, body, headers or {})
            answer = self.connection.getresponse()
            return answer.status, answer.read()

    def found(self, address: str) -> Any:
        return json.loads(self.ask("GET", address)[1])


# Part of an address: arbitrary text, percent-encoded.
part = (
    st.text(max_size=12)
    .map(lambda text: text.encode("utf-8", "surrogatepass"))
    .map(lambda data: "".join(f"%{b:02x}" for b in data))
)
headers = st.dictionaries(
    st.sampled_from(["Origin", "Authorization", "Cookie", "If-None-Match", "Accept-Encoding", "Content-Type", "Range"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    max_size=2,
)


@st.composite
def damaged(draw: st.DrawFn, picture: bytes) -> bytes:
    """Return a picture with some bytes replaced, perhaps truncated."""
    data = bytearray(picture)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)
