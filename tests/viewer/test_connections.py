"""Idle clients and large uploads leave room for others, and responses are not delayed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
pytest.importorskip("resource")

from support.fake_runs import FakeTrainer, image_of, png_of  # noqa: E402
from support.viewer_material import Sender, until  # noqa: E402

from tfviz.runs import png  # noqa: E402
from tfviz.viewer.limits import Limits  # noqa: E402
from tfviz.viewer.server import Viewer  # noqa: E402

ID = "a" * 32
SILENT = 200

# A viewer in a process that may open only 128 files.
SMALL_PROCESS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from tfviz.viewer.server import Viewer
with Viewer(sys.argv[1], port=0) as viewer:
    print(viewer.port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def small_port(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a viewer that may open 128 files, and the file with its stderr."""
    log = tmp_path / "log"
    with log.open("wb") as errors:
        command = [sys.executable, "-c", SMALL_PROCESS, str(tmp_path / "runs")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        with process:
            yield int(process.stdout.readline()), log
            process.stdin.close()
            process.wait(60)


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX-Slow: "], ids=["nothing", "half a header"])
def test_two_hundred_idle_connections_leave_room_for_others(small_port: tuple[int, Path], beginning: bytes) -> None:
    port, log = small_port
    address = f"http://127.0.0.1:{port}/api/runs"
    assert httpx.get(address, timeout=20).status_code == 200
    with ExitStack() as stack:
        for _ in range(SILENT):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            silent.sendall(beginning)
        for _ in range(5):
            started_s = time.perf_counter()
            assert httpx.get(address, timeout=20).status_code == 200
            assert time.perf_counter() - started_s < 1
    assert log.stat().st_size < 10_000


def test_a_connection_without_a_request_is_closed(tmp_path: Path) -> None:
    limits = Limits(header_timeout_s=0.3)
    with Viewer(tmp_path, port=0, limits=limits) as viewer, ExitStack() as stack:
        for first in (b"", b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            for beginning in (b"GET / HT", b""):
                silent = stack.enter_context(socket.create_connection((viewer.host, viewer.port), timeout=10))
                silent.sendall(first)
                if first:
                    assert _received(silent).startswith(b"HTTP/1.1 200")
                silent.sendall(beginning)
                # between two requests, the keep-alive timeout applies
                if beginning or not first:
                    while _received(silent):
                        pass
        with httpx.Client(base_url=viewer.address) as client, client.stream("GET", "/api/events") as stream:
            time.sleep(0.6)  # a request in progress may take longer
            assert next(stream.iter_lines())


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


def test_an_idle_connection_makes_room_for_a_new_one_and_a_busy_one_does_not(tmp_path: Path) -> None:
    with Viewer(tmp_path, port=0, limits=Limits(connections=2)) as viewer, ExitStack() as stack:
        pages = [stack.enter_context(httpx.Client(base_url=viewer.address, timeout=20)) for _ in range(3)]
        stream = stack.enter_context(pages[0].stream("GET", "/api/events"))
        assert pages[1].get("/api/runs").status_code == 200
        assert pages[2].get("/api/runs").status_code == 200
        assert next(stream.iter_lines())
        assert pages[1].get("/api/runs").status_code == 200


def test_a_response_with_a_body_is_not_delayed(tmp_path: Path) -> None:
    """With Nagle's algorithm, each waits 40 ms for the client's acknowledgment."""
    FakeTrainer(tmp_path / "run", ID, size=128).snap()
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address) as client:
        times_s = []
        for _ in range(30):
            started_s = time.perf_counter()
            assert client.get(f"/api/runs/{ID}/pictures/0/grad_cam/0.png").status_code == 200
            times_s.append(time.perf_counter() - started_s)
    assert sorted(times_s)[len(times_s) // 3] < 0.03


def test_the_size_of_simultaneous_uploads_is_limited(tmp_path: Path) -> None:
    data = png_of(image_of(0))
    with Viewer(tmp_path, port=0, limits=Limits(upload_bytes=5000)) as viewer, httpx.Client(base_url=viewer.address) as client:
        sender = Sender(client, ID)
        assert sender.put(json=sender.run).status_code == 204
        with socket.create_connection((viewer.host, viewer.port), timeout=20) as slow:
            head = f"PUT /api/runs/{ID}/images/0.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
            slow.sendall(head.encode() + b"\x89" * 4990)
            time.sleep(0.5)  # otherwise, the slow upload could be the rejected one
            response = sender.put("/images/0.png", content=data)
            assert (response.status_code, "Send it again later." in response.json()["detail"]) == (429, True)
        until(lambda: sender.put("/images/0.png", content=data).status_code == 204, "there is room again")
        assert sender.put("/images/1.png", content=data).status_code == 204


def test_at_most_two_images_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, counts, running, lock = png.cv2.imdecode, [], [0], threading.Lock()

    def slow(*arguments: object) -> object:
        with lock:
            running[0] += 1
            counts.append(running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return decode(*arguments)

    monkeypatch.setattr(png.cv2, "imdecode", slow)
    faults: list[str | None] = []
    size = {"height": 32, "width": 32}
    check = lambda: faults.append(png.fault_of(png_of(image_of(0)), size))  # noqa: E731
    threads = [threading.Thread(target=check) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == [None] * 6
    assert max(counts) == 2


@pytest.mark.parametrize("name", ["run.json", "snapshots.jsonl", "images/0.png", "pictures/00000000/grad_cam/0.png"])
def test_a_named_pipe_in_the_folder_blocks_nothing(tmp_path: Path, name: str) -> None:
    odd, other = FakeTrainer(tmp_path / "odd", ID), FakeTrainer(tmp_path / "other", "b" * 32)
    odd.snap()
    (odd.folder / name).unlink()
    os.mkfifo(odd.folder / name)
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address, timeout=20) as client:
        for path in ("images/0.png", "pictures/0/grad_cam/0.png"):
            status = client.get(f"/api/runs/{ID}/{path}").status_code
            assert status == (404 if name in ("run.json", _file(path)) else 200)
        other.snap()
        records = f"/api/runs/{'b' * 32}/snapshots"
        until(lambda: len(json.loads(client.get(records).content)) == 1, "the other run continues")


def _file(path: str) -> str:
    return path.replace("pictures/0/", "pictures/00000000/")
