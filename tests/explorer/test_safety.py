"""What the explorer rejects: unauthorized clients, other sites, paths, and invalid images."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from support.explorer_material import FIRST, explorer  # noqa: E402
from support.hostile_requests import bomb, raw, sign_in  # noqa: E402

from tfviz.errors import OptionError  # noqa: E402
from tfviz.explorer.limits import ExplorerLimits  # noqa: E402
from tfviz.explorer.server import Explorer  # noqa: E402

TOKEN = "correct-horse-battery"
GOOD = cv2.imencode(".png", np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
PATHS = ["/api/model", "/main.js", "/api/map?image=x&method=grad_cam", "/api/image.png?image=x", "/x", "/explorer.css"]


@pytest.fixture(scope="module")
def server() -> Iterator[Explorer]:
    limits = ExplorerLimits(image_bytes=20_000, image_pixels=1_000_000, body_timeout_s=1.0, header_timeout_s=2.0)
    with explorer(limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Explorer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as asking:
        yield asking


@pytest.fixture(scope="module")
def locked() -> Iterator[Explorer]:
    with explorer(token=TOKEN) as running:
        yield running


@pytest.fixture
def guarded(locked: Explorer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.address, timeout=60) as asking:
        yield asking


# Access control


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org"])
def test_a_host_that_other_machines_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(OptionError, match=r"Other machines can reach the explorer at .*Set TFVIZ_TOKEN or --token"):
        explorer(host=host)
    with pytest.raises(OptionError, match="The token must consist of printable ASCII characters without spaces"):
        explorer(token="two words")
    with pytest.raises(OptionError, match=r"The token has 5 characters.*reach the explorer at 0\.0\.0\.0 could guess it"):
        explorer(host="0.0.0.0", token="short")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_read_or_sent_without_the_token(guarded: httpx.Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": f"tfviz_viewer={TOKEN}"}):
        assert guarded.get(path, headers=headers).status_code == 401
        assert guarded.post("/api/images?name=x", content=GOOD, headers=headers).status_code == 401


def test_signing_in_allows_reading_and_sending_images_from_the_page_only(guarded: httpx.Client) -> None:
    page = guarded.get("/")
    assert page.status_code == 401
    assert "needs a token" in page.text and 'method="post"' in page.text
    assert guarded.get("/style.css").status_code == 200
    assert sign_in(guarded, "wrong").status_code == 401
    assert sign_in(guarded, TOKEN, Origin="http://evil.example").status_code == 403
    entered = sign_in(guarded, TOKEN, Origin=str(guarded.base_url).rstrip("/"))
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert TOKEN not in entered.headers["set-cookie"]
    assert guarded.get("/api/model").status_code == 200
    own = {"Origin": str(guarded.base_url).rstrip("/")}
    assert guarded.post("/api/images?name=x.png", content=GOOD, headers=own).status_code == 200
    for origin in ("http://evil.example", "null"):
        headers = {"Origin": origin}
        assert guarded.post("/api/images?name=x.png", content=GOOD, headers=headers).status_code == 403
    # the cookie allows no other upload
    assert guarded.put("/api/images?name=x.png", content=GOOD).status_code == 401
    assert guarded.post("/api/model").status_code == 401


def test_requests_from_other_sites_are_rejected_under_any_host_name(server: Explorer) -> None:
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "", "localhost:x"):
        assert raw(server, "GET", "/api/model", Host=host)[0] == 403
        assert raw(server, "POST", "/api/images?name=x", GOOD, Host=host)[0] == 403
    own = f"127.0.0.1:{server.port}"
    assert raw(server, "POST", "/api/images?name=x", GOOD, Host=own, Origin=f"http://{own}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert raw(server, "POST", "/api/images?name=x", GOOD, Host=own, Origin=origin)[0] == 403


def test_every_response_has_the_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/api/model", "/nothing", "/api/map", f"/api/image.png?image={FIRST}"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


# Paths and images


@pytest.mark.parametrize(
    "image",
    ["../../../etc/passwd", "file/../test_safety.py", "/etc/passwd", "file//etc/passwd", "upload/..", "", "%00", "file/\\x"],
)
def test_no_id_leads_to_a_file_that_is_not_listed(server: Explorer, image: str) -> None:
    for path in ("image.png", "thumbnail.png", "classes", "map"):
        parameters = {"image": image, "method": "grad_cam"}
        assert httpx.get(f"{server.address}api/{path}", params=parameters, timeout=60).status_code == 404
    for path in ("/../setup.cfg", "/..%2fapp.py", "/%2e%2e/app.py", "//etc/passwd", "/app.py"):
        assert 400 <= raw(server, "GET", path)[0] < 500


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "is an empty file"),
        (b"<svg onload='alert(1)'/>", 422, "is not a JPEG, PNG"),
        (GOOD[:60], 422, "truncated or damaged"),
        (bomb(8_000), 422, "may have at most 1000000 pixels"),
        (bomb(60_000), 422, "may have at most 1000000 pixels"),
        (bomb(32), 422, "is truncated, damaged, or"),
        (b" " * 30_000, 413, "at most 20000 bytes"),
    ],
)
def test_only_small_complete_images_are_accepted(client: httpx.Client, data: bytes, status: int, words: str) -> None:
    response = client.post("/api/images", params={"name": "x.png"}, content=data)
    assert (response.status_code, words in response.json()["detail"]) == (status, True), response.text
    chunked = client.post("/api/images", params={"name": "x.png"}, content=iter([data[:10], data[10:]]))
    assert chunked.status_code == status


def test_slow_and_idle_clients_are_cut_off(server: Explorer) -> None:
    with socket.create_connection((server.host, server.port), timeout=20) as slow:
        slow.sendall(b"POST /api/images?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in slow.recv(1000)
    with socket.create_connection((server.host, server.port), timeout=20) as idle:
        idle.sendall(b"GET / HT")
        assert idle.recv(1000) == b""


def test_hostile_names_are_data(client: httpx.Client) -> None:
    name = "a'\n\u202e\"<img src=x>;import os\\"
    made = client.post("/api/images", params={"name": name}, content=GOOD)
    assert made.status_code == 200
    python = client.get("/api/map", params={"image": made.json()["id"], "method": "saliency"}).json()["python"]
    assert len(python.splitlines()) == 5
    compile(python, "line", "exec")
    assert repr(name) in python
