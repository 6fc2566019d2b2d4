"""Slow clients do not delay a trainer."""

from __future__ import annotations

import logging
import resource
import socket
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from support.fake_runs import FakeTrainer  # noqa: E402
from support.viewer_material import Sender  # noqa: E402

from tfviz.viewer.events import HEARTBEAT_S, Events  # noqa: E402
from tfviz.viewer.server import Viewer  # noqa: E402
from tfviz.viewer.store import News  # noqa: E402

CLIENTS = 50
ID, LONG = "a" * 32, "b" * 32

REQUESTS = {
    "half a header": "PUT /api/runs/{id} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a body": "PUT /api/runs/{id}/images/0.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n\x89PNG",
    "news that nobody reads": "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "records that nobody reads": "GET /api/runs/{long}/snapshots HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Viewer:
    folder = tmp_path_factory.mktemp("runs")
    FakeTrainer(folder / "long", LONG).snap(4000, with_pictures=False)
    with Viewer(folder, port=0) as running:
        yield running


def held(viewer: Viewer, request: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((viewer.host, viewer.port))
    connection.sendall(request.format(id=ID, long=LONG).encode("latin-1"))
    return connection


@pytest.mark.parametrize("request_text", REQUESTS.values(), ids=REQUESTS)
def test_fifty_slow_clients_do_not_stop_a_trainer(viewer: Viewer, request_text: str) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 4 * CLIENTS:
        pytest.skip("the limit of open files is too low")
    with httpx.Client(base_url=viewer.address, timeout=10) as client:
        sender = Sender(client, ID)
        sender.open()
        sender.number = sender.state()["last"] + 1
        connections = [held(viewer, request_text) for _ in range(CLIENTS)]
        try:
            time.sleep(0.3)
            # each request must finish within the client's timeout of ten seconds
            sender.send(3)
            assert sender.state()["last"] == sender.number - 1
        finally:
            for connection in connections:
                connection.close()


def test_a_slow_page_receives_only_the_latest_news() -> None:
    """At most one item per run is queued for it, however much happens."""
    import asyncio

    async def scene() -> list[bytes]:
        events = Events()
        stream = events.stream([News("a", 0)])
        parts = [await anext(stream), await anext(stream)]
        for number in range(1000):
            events.tell([News("a", number), News("b", number, is_new=number == 0)])
        parts.append(await anext(stream))
        events.close()
        assert [part async for part in stream] == []
        assert events.count == 0
        return parts

    parts = asyncio.run(asyncio.wait_for(scene(), HEARTBEAT_S))
    assert parts[1] == b'data: {"run": "a", "last": 0, "new": false}\n\n'
    assert parts[2] == (b'data: {"run": "a", "last": 999, "new": false}\n\ndata: {"run": "b", "last": 999, "new": true}\n\n')


def test_a_quiet_stream_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr("tfviz.viewer.events.HEARTBEAT_S", 0.01)

    async def scene() -> list[bytes]:
        stream = Events().stream([])
        return [await anext(stream) for _ in range(3)]

    assert asyncio.run(scene())[1:] == [b": still here\n\n"] * 2


def test_open_pages_do_not_keep_the_viewer_from_stopping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Viewer(tmp_path, port=0) as viewer:
        listening = [held(viewer, REQUESTS["news that nobody reads"]) for _ in range(5)]
        for connection in listening:
            assert connection.recv(1000)  # the stream has started
        viewer.stop()
        for connection in listening:
            connection.close()
    assert caplog.messages == []  # uvicorn logs streams that it has to abort
