"""What the viewer rejects: unauthorized clients, paths outside its folder, too much, and invalid
data.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from support.fake_runs import FakeTrainer, image_of, png_of, record_of, run_of  # noqa: E402
from support.hostile_requests import bomb, raw, sign_in  # noqa: E402
from support.viewer_material import Sender, until  # noqa: E402

from tfviz.errors import OptionError  # noqa: E402
from tfviz.viewer.guard import is_loopback, is_own_name  # noqa: E402
from tfviz.viewer.limits import Limits  # noqa: E402
from tfviz.viewer.log import on_one_line  # noqa: E402
from tfviz.viewer.server import Viewer  # noqa: E402

ID, OTHER = "a" * 32, "b" * 32
KNOWN, SENT = "c" * 32, "d" * 32  # runs of the shared viewer
GOOD = png_of(image_of(0))
TOKEN = "correct-horse-battery"


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    limits = Limits(run_bytes=20_000, record_bytes=5_000, runs=3, readers=2, body_timeout_s=1.0)
    with Viewer(tmp_path / "runs", port=0, limits=limits) as running:
        yield running


@pytest.fixture
def client(viewer: Viewer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=viewer.address, timeout=20) as asking:
        yield asking


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[httpx.Client]:
    FakeTrainer(tmp_path / "here", ID).snap()
    with Viewer(tmp_path, port=0, token=TOKEN) as running, httpx.Client(base_url=running.address, timeout=20) as asking:
        yield asking


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Viewer, Path]]:
    """A shared viewer for requests that must have no effect, and the parent of its folder."""
    outside = tmp_path_factory.mktemp("steady")
    (outside / "secret.png").write_bytes(b"secret")
    FakeTrainer(outside / "runs" / "here", KNOWN).snap()
    with Viewer(outside / "runs", port=0) as running:
        with httpx.Client(base_url=running.address, timeout=20) as client:
            Sender(client, SENT).open()
        yield running, outside


# Access control


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_a_host_that_other_machines_can_reach_needs_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(OptionError, match=r"Other machines can reach the viewer at .*Set TFVIZ_TOKEN or --token"):
        Viewer(tmp_path, host=host)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "schlüssel"])
def test_a_token_that_cannot_be_sent_is_rejected(tmp_path: Path, token: str) -> None:
    with pytest.raises(OptionError, match="The token must consist of printable ASCII characters without spaces"):
        Viewer(tmp_path, token=token)


def test_with_a_token_the_viewer_serves_all_addresses_of_the_machine(tmp_path: Path) -> None:
    with Viewer(tmp_path, host="0.0.0.0", port=0, token=TOKEN) as running:
        assert httpx.get(f"http://127.0.0.1:{running.port}/api/runs").status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "any.example"}
        assert httpx.get(f"http://127.0.0.1:{running.port}/api/runs", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/api/runs", f"/api/runs/{ID}/pictures/0/grad_cam/0.png", "/main.js", "/api/events", "/x"])
def test_nothing_can_be_read_or_written_without_the_token(guarded: httpx.Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": f"tfviz_viewer={TOKEN}"}):
        assert guarded.get(path, headers=headers).status_code == 401
        assert guarded.put(path, headers=headers).status_code == 401


def test_a_trainer_can_send_with_the_token_in_its_header(guarded: httpx.Client) -> None:
    guarded.headers["Authorization"] = f"Bearer {TOKEN}"
    sender = Sender(guarded, OTHER)
    sender.open()
    sender.send()
    assert sender.state()["last"] == 0


def test_signing_in_sets_a_cookie_that_allows_only_reading(guarded: httpx.Client) -> None:
    page = guarded.get("/")
    assert page.status_code == 401
    assert "needs a token" in page.text and 'method="post"' in page.text
    # with "no-referrer", browsers would send the Origin "null"
    assert page.headers["referrer-policy"] == "same-origin"
    assert guarded.get("/style.css").status_code == 200  # the sign-in page uses the same style
    assert sign_in(guarded, "wrong").status_code == 401
    assert sign_in(guarded, TOKEN, Origin="null").status_code == 403
    assert sign_in(guarded, TOKEN, Origin="http://evil.example").status_code == 403
    assert not guarded.cookies
    entered = sign_in(guarded, TOKEN, Origin=str(guarded.base_url).rstrip("/"))
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert re.search("HttpOnly.*SameSite=strict", entered.headers["set-cookie"], re.IGNORECASE)
    assert TOKEN not in entered.headers["set-cookie"]
    # httpx stores the cookie
    assert guarded.get(f"/api/runs/{ID}/pictures/0/grad_cam/0.png").status_code == 200
    assert guarded.get("/").status_code == 200
    assert guarded.put(f"/api/runs/{OTHER}", json=run_of(OTHER)).status_code == 401


def test_a_link_with_the_token_redirects_to_an_address_without_it(guarded: httpx.Client) -> None:
    assert guarded.get("/", params={"token": "wrong"}).status_code == 401
    # the second time, the cookie exists, and the token must still leave the address
    for _ in range(2):
        entered = guarded.get("/", params={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert TOKEN not in entered.headers["set-cookie"]
    assert guarded.get("/").status_code == 200


def test_invalid_and_oversized_sign_in_forms_are_rejected(guarded: httpx.Client) -> None:
    for body in (b"token=" + b"x" * (1 << 20), b"", b"\xff\xfe", b"token=", b"token=%ff%00", b"other=" + TOKEN.encode()):
        assert guarded.post("/", content=body).status_code == 401
    assert guarded.post("/api/runs", data={"token": TOKEN}).status_code == 401


def test_two_viewers_on_one_machine_keep_their_cookies_apart(tmp_path: Path) -> None:
    other = "another-token-here"
    with (
        Viewer(tmp_path, port=0, token=TOKEN) as one,
        Viewer(tmp_path, port=0, token=other) as two,
        httpx.Client() as browser,  # stores cookies by machine, not by port
    ):
        for viewer, token in ((one, TOKEN), (two, other)):
            assert browser.post(viewer.address, data={"token": token}).status_code == 303
        assert [browser.get(viewer.address).status_code for viewer in (one, two)] == [200, 200]


@pytest.mark.parametrize("token", ["x", "fifteen-letters"])
def test_a_token_that_other_machines_can_guess_must_be_long(tmp_path: Path, token: str) -> None:
    with pytest.raises(OptionError, match=rf"The token has {len(token)} characters.*Choose a token of at least 16 characters"):
        Viewer(tmp_path, host="0.0.0.0", port=0, token=token)
    with Viewer(tmp_path, host="127.0.0.1", port=0, token=token):
        pass


def test_a_picture_too_large_for_its_image_is_not_read(steady: tuple[Viewer, Path]) -> None:
    viewer, outside = steady
    picture = outside / "runs" / "here" / "pictures" / "00000000" / "grad_cam" / "0.png"
    content = picture.read_bytes()
    try:
        with picture.open("r+b") as file:
            file.truncate(1 << 36)  # a sparse file
        assert raw(viewer, "GET", f"/api/runs/{KNOWN}/pictures/0/grad_cam/0.png")[0] == 404
    finally:
        picture.write_bytes(content)
    assert raw(viewer, "GET", f"/api/runs/{KNOWN}/pictures/0/grad_cam/0.png") == (200, content)
    assert raw(viewer, "GET", f"/api/runs/{KNOWN}/pictures/0/grad_cam/200.png")[0] == 404


def test_requests_from_other_sites_are_rejected_under_any_host_name(viewer: Viewer) -> None:
    for host in ("evil.example", f"evil.example:{viewer.port}", "127.0.0.1.evil.example", "", "localhost:x", "[::1"):
        assert raw(viewer, "GET", "/api/runs", Host=host)[0] == 403
    for host in (f"127.0.0.1:{viewer.port}", f"localhost:{viewer.port}", "[::1]:80", "127.0.0.2"):
        assert raw(viewer, "GET", "/api/runs", Host=host)[0] == 200
    own = f"127.0.0.1:{viewer.port}"
    assert raw(viewer, "GET", "/api/runs", Host=own, Origin=f"http://{own}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert raw(viewer, "PUT", f"/api/runs/{ID}", Host=own, Origin=origin)[0] == 403


def test_names_of_this_machine_are_recognized() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "::", "localhost.example", "", "1"))
    assert is_own_name("workstation:80", "workstation")
    assert not is_own_name("workstation:80", "127.0.0.1")


def test_every_response_has_the_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/api/runs", "/nothing", f"/api/runs/{ID}/state"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/api/runs").headers["cache-control"] == "no-store"


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.png",
        "/..%2fsecret.png",
        "/%2e%2e/secret.png",
        "/..%5csecret.png",
        "//etc/passwd",
        "/%00",
        "/api/runs/../../secret.png",
        f"/api/runs/{KNOWN}/images/../../../secret.png",
        f"/api/runs/{KNOWN}/images/..%2f..%2f..%2fsecret.png",
        f"/api/runs/{KNOWN}/images/-1.png",
        f"/api/runs/{KNOWN}/images/0.png%00",
        f"/api/runs/{KNOWN}/images/%d9%a3.png",
        f"/api/runs/{KNOWN}/pictures/0/../0.png",
        f"/api/runs/{KNOWN}/pictures/0/..%2f..%2f..%2f..%2fsecret/0.png",
        f"/api/runs/{KNOWN}/pictures/0/%2e%2e/0.png",
        f"/api/runs/{KNOWN}/pictures/../grad_cam/0.png",
        f"/api/runs/{KNOWN}/pictures/99999999999999999999/grad_cam/0.png",
        f"/api/runs/{KNOWN.upper()}/state",
        "/api/runs/..%2f..%2fsecret.png/state",
    ],
)
def test_no_address_leads_outside_the_folder(steady: tuple[Viewer, Path], path: str) -> None:
    viewer, outside = steady
    before = sorted(outside.rglob("*"))
    for method in ("GET", "PUT"):
        status, body = raw(viewer, method, path, GOOD if method == "PUT" else b"")
        assert 400 <= status < 500
        assert b"secret" not in body
    assert sorted(outside.rglob("*")) == before


def test_pictures_behind_links_are_not_served(viewer: Viewer, client: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png_of(image_of(1)))
    trainer = FakeTrainer(tmp_path / "runs" / "here", ID)
    trainer.snap()
    until(lambda: client.get("/api/runs").json(), "the run appears")
    picture = trainer.folder / "pictures" / "00000000" / "grad_cam"
    address = f"/api/runs/{ID}/pictures/0/grad_cam"
    assert client.get(f"{address}/0.png").status_code == 200
    (picture / "0.png").unlink()
    (picture / "0.png").symlink_to(secret)
    assert client.get(f"{address}/0.png").status_code == 404
    elsewhere = tmp_path / "elsewhere"
    picture.rename(elsewhere)
    picture.symlink_to(elsewhere)
    assert client.get(f"{address}/1.png").status_code == 404


def test_a_run_behind_a_link_is_not_shown(viewer: Viewer, client: httpx.Client, tmp_path: Path) -> None:
    elsewhere = FakeTrainer(tmp_path / "elsewhere", ID)
    runs = tmp_path / "runs"
    (runs / "whole").mkdir(parents=True)
    (runs / "file").mkdir()
    (runs / "link").symlink_to(elsewhere.folder)
    (runs / "file" / "run.json").symlink_to(elsewhere.folder / "run.json")
    FakeTrainer(runs / "own", OTHER)
    until(lambda: [run["id"] for run in client.get("/api/runs").json()] == [OTHER], "the one run appears")


def test_uploads_are_not_written_through_links(client: httpx.Client, tmp_path: Path) -> None:
    sender = Sender(client, ID)
    sender.open()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "runs" / "shapes-aaaaaaaa"
    (folder / "pictures").symlink_to(elsewhere)
    (folder / "snapshots.jsonl").symlink_to(elsewhere / "lines")
    assert sender.put("/pictures/0/grad_cam/0.png", content=png_of(image_of(0))).status_code == 409
    assert sender.put("/snapshots/0", json=record_of(0)).status_code == 409
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["../../out", "/etc/x", "..", ".hidden", "a/b\\c:d*?", "", "ünïcode", "x" * 400, "a\nb\0c"])
def test_the_folder_of_a_run_stays_inside_for_any_name(client: httpx.Client, tmp_path: Path, name: str) -> None:
    assert Sender(client, ID).put(json=run_of(ID, name=name)).status_code == 204
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}-a{8}", folder.name)
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]
    assert client.get("/api/runs").json()[0]["name"] == name


def test_an_existing_folder_of_the_same_name_is_not_touched(client: httpx.Client, tmp_path: Path) -> None:
    taken = tmp_path / "runs" / "shapes-aaaaaaaa"
    taken.mkdir(parents=True)
    sender = Sender(client, ID)
    sender.open()
    assert list(taken.iterdir()) == []
    assert (tmp_path / "runs" / f"shapes-{ID}" / "run.json").is_file()


# Limits


def test_oversized_bodies_are_rejected_by_their_header_and_while_they_arrive(viewer: Viewer, client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    sender = Sender(client, ID)
    sender.open()
    for path in ("", "/snapshots/0", "/images/0.png"):
        assert sender.put(path, content=b" " * 90_000).status_code == 413
        assert sender.put(path, content=endless()).status_code == 413  # without a Content-Length
    for length in ("-1", "x", "9" * 100, "1e3"):
        assert raw(viewer, "PUT", f"/api/runs/{ID}", Content_Length=length)[0] in (400, 413)


def test_the_numbers_of_runs_images_methods_and_readers_are_limited(client: httpx.Client) -> None:
    for number in range(3):
        assert Sender(client, f"{number}" * 32).put(json=run_of(f"{number}" * 32)).status_code == 204
    response = Sender(client, ID).put(json=run_of(ID))
    assert (response.status_code, "already has 3 runs" in response.json()["detail"]) == (429, True)
    many = Sender(client, "0" * 32)
    assert many.put(json=run_of("0" * 32, images=257)).status_code == 422
    methods = [{"name": f"m{i}", "key": "m", "title": "", "layer": None, "style": "grey"} for i in range(65)]
    assert many.put(json=run_of("0" * 32, methods=methods)).status_code == 422
    assert many.put(json=run_of("0" * 32, methods=[methods[0]] * 2)).status_code == 422
    assert many.put("/snapshots/1000000", json=record_of(1_000_000)).status_code == 422
    with client.stream("GET", "/api/events"), client.stream("GET", "/api/events"):
        assert client.get("/api/events").status_code == 429
    until(lambda: _streams(client), "the readers' slots are free again")


def _streams(client: httpx.Client) -> bool:
    with client.stream("GET", "/api/events") as stream:
        return stream.status_code == 200


def test_a_body_that_arrives_too_slowly_is_rejected(viewer: Viewer) -> None:
    with socket.create_connection((viewer.host, viewer.port), timeout=20) as slow:
        slow.sendall(f"PUT /api/runs/{ID} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert b" 408 " in slow.recv(1000)


def test_a_full_disk_is_reported_to_the_trainer_and_leaves_no_partial_data(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(client, ID)
    sender.open()
    sender.send()
    (folder,) = (tmp_path / "runs").iterdir()
    before = (folder / "snapshots.jsonl").read_bytes()
    opened = Path.open

    class Full:
        """An index on a disk that accepts half of a line."""

        def __init__(self, path: Path) -> None:
            self.file = opened(path, "r+b", buffering=0)
            self.truncate, self.seek, self.read = self.file.truncate, self.file.seek, self.file.read

        def write(self, line: bytes) -> None:
            self.file.write(line[:9])
            raise OSError(28, "No space left on device")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **options: Full(path) if mode == "r+b" else opened(path, mode, **options)
    )
    response = sender.put("/snapshots/1", json=record_of(1))
    assert (response.status_code, response.json()["detail"]) == (
        507,
        "The viewer cannot write to its folder (No space left on device). Free some disk space, or check its permissions.",
    )
    assert (folder / "snapshots.jsonl").read_bytes() == before
    monkeypatch.undo()
    assert sender.put("/snapshots/1", json=record_of(1)).status_code == 204


# Form


JPEG = cv2.imencode(".jpg", image_of(0))[1].tobytes()
DEEP = cv2.imencode(".png", image_of(0).astype(np.uint16) * 257)[1].tobytes()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "Expected a PNG image. Received: 0 bytes"),
        (b"<svg onload='alert(1)'/>", "Expected a PNG image."),
        (JPEG, "Expected a PNG image."),
        (GOOD[:60], "truncated or damaged"),
        (GOOD[:8], "Expected an image 32 pixels wide and 32 high. Received: 0 by 0"),
        (GOOD.replace(b"IDAT", b"IDAX"), "truncated or damaged"),
        (png_of(image_of(0, 33)), "Expected an image 32 pixels wide and 32 high. Received: 33 by 33"),
        (bomb(60_000), "Received: 60000 by 60000"),
        (bomb(32), "truncated or damaged"),
        (DEEP, "8 bits per channel. Received: 16"),
    ],
)
def test_only_a_complete_png_of_the_right_size_is_accepted(steady: tuple[Viewer, Path], data: bytes, fault: str) -> None:
    viewer, outside = steady
    before = sorted(outside.rglob("*"))
    for path in ("images/0.png", "pictures/0/grad_cam/0.png"):
        response = httpx.put(f"{viewer.address}api/runs/{SENT}/{path}", content=data)
        assert response.status_code == 422
        assert fault in response.json()["detail"]
    assert sorted(outside.rglob("*")) == before


RUN, RECORD = run_of(ID), record_of(0)
WRONG_RUNS = {
    "not json": b"{",
    "pickle": b"\x80\x04\x95",
    "a list": b"[]",
    "nan": json.dumps({**RUN, "started": float("nan")}).encode(),
    "infinite": json.dumps({**RUN, "started": float("inf")}).encode(),
    "deep": b"[" * 10_000,
    "another id": json.dumps({**RUN, "id": OTHER}).encode(),
    "another format": json.dumps({**RUN, "format": 2}).encode(),
    "one more field": json.dumps({**RUN, "more": 1}).encode(),
    "a field less": json.dumps({key: value for key, value in RUN.items() if key != "labels"}).encode(),
    "text for a number": json.dumps({**RUN, "started": "1"}).encode(),
    "no image": json.dumps({**RUN, "images": []}).encode(),
    "an endless image": json.dumps({**RUN, "images": [{"height": 10**9, "width": 1}]}).encode(),
    "a method with a path": json.dumps({**RUN, "methods": [{**RUN["methods"][0], "name": "../x"}]}).encode(),
    "a surrogate": json.dumps({**RUN, "name": "\ud800"}).encode(),
}
WRONG_RECORDS = {
    "another number": {**RECORD, "number": 1},
    "true for a number": {**RECORD, "step": True},
    "an infinite metric": {**RECORD, "logs": {"loss": float("inf")}},
    "a nested metric": {**RECORD, "logs": {"loss": [1]}},
    "a negative epoch": {**RECORD, "epoch": -1},
    "another moment": {**RECORD, "when": "now"},
    "too few predictions": {**RECORD, "predictions": []},
    "an unknown method": {**RECORD, "methods": ["score_cam"]},
    "a long error": {**RECORD, "errors": {"grad_cam": "x" * 30_000}},
}


@pytest.mark.parametrize("body", WRONG_RUNS.values(), ids=WRONG_RUNS)
def test_an_invalid_run_is_rejected_and_logged(
    steady: tuple[Viewer, Path], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    viewer, outside = steady
    before = sorted(outside.rglob("*"))
    with caplog.at_level(logging.WARNING, "tfviz.viewer"):
        response = httpx.put(f"{viewer.address}api/runs/{ID}", content=body)
    assert response.status_code == 422
    assert response.json()["detail"]
    assert sorted(outside.rglob("*")) == before
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tfviz.viewer"]
    assert line.startswith(f"127.0.0.1 PUT /api/runs/{ID} -> 422 ")


@pytest.mark.parametrize("record", WRONG_RECORDS.values(), ids=WRONG_RECORDS)
def test_an_invalid_record_is_rejected(steady: tuple[Viewer, Path], record: dict) -> None:
    run = f"{steady[0].address}api/runs/{SENT}"
    assert httpx.put(f"{run}/snapshots/0", content=json.dumps(record).encode()).status_code == 422
    assert httpx.get(f"{run}/state").json()["last"] == -1


def test_uploads_that_do_not_belong_to_the_run_are_rejected(client: httpx.Client) -> None:
    sender = Sender(client, ID)
    # the run does not exist yet
    assert sender.put("/snapshots/0", json=record_of(0)).status_code == 404
    sender.open()
    assert sender.put("/images/2.png", content=GOOD).status_code == 422
    assert sender.put("/pictures/0/saliency/0.png", content=GOOD).status_code == 422
    assert client.delete(f"/api/runs/{ID}").status_code == 405
    assert client.post("/api/runs", json={}).status_code == 405


def test_a_request_is_logged_on_one_line_whatever_it_contains(viewer: Viewer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tfviz.viewer"):
        raw(viewer, "GET", "/nothing%0d%0aforged%1b[2J")
        raw(viewer, "GET", f"/api/runs/{ID}/state")  # ordinary: the run does not exist yet
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tfviz.viewer"]
    assert line == r"127.0.0.1 GET /nothing\x0d\x0aforged\x1b[2J -> 404 Nothing was found at this address."
    assert len(on_one_line("x" * 5000)) == 301


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 100 + b"\r\n\r\n"]
)
def test_data_that_is_not_http_is_rejected_and_the_viewer_continues(viewer: Viewer, client: httpx.Client, noise: bytes) -> None:
    with socket.create_connection((viewer.host, viewer.port), timeout=20) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1000)
    assert answer == b"" or b" 400 " in answer or b" 505 " in answer
    assert client.get("/api/runs").status_code == 200
