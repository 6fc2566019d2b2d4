"""The viewer's HTTP API, for trainers and pages, and the folder behind it."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from support.fake_runs import METHODS, FakeTrainer, image_of, map_of, png_of, record_of, run_of  # noqa: E402
from support.viewer_material import Sender, until  # noqa: E402

from tfviz.runs.layout import find_runs  # noqa: E402
from tfviz.runs.run_reader import read_records, read_run  # noqa: E402
from tfviz.viewer.limits import Limits  # noqa: E402
from tfviz.viewer.server import Viewer  # noqa: E402

ID, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    with Viewer(tmp_path / "runs", port=0) as running:
        yield running


@pytest.fixture
def client(viewer: Viewer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=viewer.address, timeout=20) as asking:
        yield asking


def numbers(client: httpx.Client, id: str = ID, after: int = -1) -> list[int]:
    return [record["number"] for record in client.get(f"/api/runs/{id}/snapshots?after={after}").json()]


def test_an_uploaded_run_can_be_read_and_is_stored_in_the_documented_form(
    viewer: Viewer, client: httpx.Client, tmp_path: Path
) -> None:
    sender = Sender(client, ID, name="first try")
    sender.open()
    sender.send(3)
    (listed,) = client.get("/api/runs").json()
    assert listed == {**sender.run, "snapshots": 3, "last_time": record_of(2)["time"]}
    assert client.get(f"/api/runs/{ID}/snapshots?after=0").json() == [record_of(1), record_of(2)]
    assert sender.state() == {"snapshots": 3, "last": 2, "images": 2}
    picture = client.get(f"/api/runs/{ID}/pictures/1/grad_cam/0.png")
    assert (picture.content, picture.headers["content-type"]) == (png_of(map_of(0, 1, 1)), "image/png")
    assert client.get(f"/api/runs/{ID}/images/1.png").content == png_of(image_of(1))
    folder = tmp_path / "runs" / "first-try-aaaaaaaa"
    assert find_runs(tmp_path / "runs") == [folder]
    assert read_run(folder) == sender.run
    assert read_records(folder) == [record_of(number) for number in range(3)]
    assert (folder / "pictures" / "00000001" / METHODS[0][0] / "0.png").read_bytes() == png_of(map_of(0, 1, 0))


def test_repeated_uploads_change_nothing_and_gaps_are_rejected(client: httpx.Client) -> None:
    sender = Sender(client, ID)
    sender.open()
    sender.send(2)
    assert sender.put("/snapshots/1", json=record_of(1, epoch=9)).status_code == 204
    assert client.get(f"/api/runs/{ID}/snapshots?after=0").json() == [record_of(1)]
    response = sender.put("/snapshots/3", json=record_of(3))
    assert (response.status_code, response.json()["last"]) == (409, 1)
    early = sender.put("/pictures/3/grad_cam/0.png", content=png_of(image_of(0)))
    assert (early.status_code, early.json()["last"]) == (409, 1)
    first = client.get(f"/api/runs/{ID}/pictures/0/grad_cam/0.png").content
    assert sender.put("/pictures/0/grad_cam/0.png", content=png_of(image_of(1))).status_code == 204
    assert client.get(f"/api/runs/{ID}/pictures/0/grad_cam/0.png").content == first


def test_a_restart_keeps_everything_and_uploads_continue(tmp_path: Path) -> None:
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address) as client:
        sender = Sender(client, ID)
        sender.open()
        sender.send(2)
    (folder,) = find_runs(tmp_path)
    with (folder / "snapshots.jsonl").open("ab") as index:
        index.write(b'{"number": 2, "cut off')  # as a power failure leaves it
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address) as client:
        sender.client = client
        assert sender.state() == {"snapshots": 2, "last": 1, "images": 2}
        sender.send()
        assert numbers(client) == [0, 1, 2]
    assert read_records(folder) == [record_of(number) for number in range(3)]


def test_a_run_can_be_updated_while_its_records_still_fit(client: httpx.Client) -> None:
    sender = Sender(client, ID)
    sender.open()
    sender.send()
    assert sender.put(json={**sender.run, "labels": None, "started": 1.8e9}).status_code == 204
    assert client.get("/api/runs").json()[0]["labels"] is None
    assert numbers(client) == [0]
    changed = sender.put(json=run_of(ID, images=3))
    assert changed.status_code == 422
    assert "cannot change its images" in changed.json()["detail"]


def test_folders_written_by_others_are_polled(viewer: Viewer, client: httpx.Client, tmp_path: Path) -> None:
    assert client.get("/api/runs").json() == []
    trainer = FakeTrainer(tmp_path / "runs" / "deep" / "here", ID)
    trainer.snap()
    until(lambda: client.get("/api/runs").json(), "the run appears")
    until(lambda: numbers(client) == [0], "its snapshot appears")
    trainer.snap(2)
    until(lambda: numbers(client, after=0) == [1, 2], "the next appear")
    shutil.rmtree(trainer.folder)
    until(lambda: client.get("/api/runs").json() == [], "the run is gone")


def test_a_run_in_the_folder_itself_is_shown_beside_uploaded_ones(tmp_path: Path) -> None:
    FakeTrainer(tmp_path, ID).snap()
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address) as client:
        sender = Sender(client, OTHER)
        sender.open()
        sender.send()
        assert {run["id"] for run in client.get("/api/runs").json()} == {ID, OTHER}


def test_runs_written_by_others_are_never_modified(client: httpx.Client, tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "runs" / "here", ID)
    trainer.snap(2)
    until(lambda: numbers(client) == [0, 1] if client.get("/api/runs").json() else False, "the run appears")
    before = {path: path.read_bytes() for path in trainer.folder.rglob("*") if path.is_file()}
    sender = Sender(client, ID, name="another")
    assert sender.put(json=sender.run).status_code == 204
    assert sender.put("/snapshots/1", json=record_of(1)).status_code == 204  # here already
    assert sender.put("/pictures/2/grad_cam/0.png", content=png_of(image_of(0))).status_code == 204
    assert sender.put("/snapshots/2", json=record_of(2)).status_code == 409
    assert {path: path.read_bytes() for path in trainer.folder.rglob("*") if path.is_file()} == before
    trainer.snap()
    assert sender.put("/snapshots/2", json=record_of(2)).status_code == 204  # found immediately


def events(client: httpx.Client, count: int, started: threading.Event | None = None) -> list[dict]:
    found = []
    with client.stream("GET", "/api/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        if started:
            started.set()
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count:
                    break
    return found


def test_pages_receive_the_current_state_and_then_news(viewer: Viewer, client: httpx.Client, tmp_path: Path) -> None:
    sender = Sender(client, ID)
    sender.open()
    assert events(client, 1) == [{"run": ID, "last": -1, "new": False}]
    sender.send()
    started, received = threading.Event(), []

    def listen() -> None:
        with httpx.Client(base_url=viewer.address, timeout=20) as own:
            received.extend(events(own, 4, started))

    thread = threading.Thread(target=listen)
    thread.start()
    started.wait(20)
    sender.send()
    time.sleep(0.4)
    trainer = FakeTrainer(tmp_path / "runs" / "here", OTHER)
    until(lambda: len(client.get("/api/runs").json()) == 2, "the run is found")
    time.sleep(0.4)
    trainer.snap()
    thread.join(20)
    assert received[:2] == [{"run": ID, "last": 0, "new": False}, {"run": ID, "last": 1, "new": False}]
    assert received[2]["run"] == OTHER
    assert received[2]["new"]
    assert received[3] == {"run": OTHER, "last": 0, "new": False}


def test_long_runs_are_sent_in_parts_and_compressed_for_remote_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTrainer(tmp_path / "long", ID).snap(25, with_pictures=False)
    with Viewer(tmp_path, port=0, limits=Limits(records=10)) as viewer, httpx.Client(base_url=viewer.address) as client:
        assert numbers(client) == list(range(10))
        assert numbers(client, after=19) == list(range(20, 25))
        assert "content-encoding" not in client.get(f"/api/runs/{ID}/snapshots").headers
        monkeypatch.setattr("tfviz.viewer.api.is_loopback", lambda host: False)
        answer = client.get(f"/api/runs/{ID}/snapshots")
        assert answer.headers["content-encoding"] == "gzip"
        assert len(answer.json()) == 10
        with client.stream("GET", f"/api/runs/{ID}/snapshots") as raw:
            assert len(json.loads(gzip.decompress(b"".join(raw.iter_raw())))) == 10


def test_browsers_may_cache_pictures_of_snapshots_forever(client: httpx.Client) -> None:
    sender = Sender(client, ID)
    sender.open()
    sender.send()
    assert "immutable" in client.get(f"/api/runs/{ID}/pictures/0/grad_cam/0.png").headers["cache-control"]
    sender.put("/pictures/1/grad_cam/0.png", content=png_of(image_of(0)))
    assert client.get(f"/api/runs/{ID}/pictures/1/grad_cam/0.png").headers["cache-control"] == "no-cache"


def test_the_page_and_its_assets_are_served_and_revalidated(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({**record_of(1), "surprise": 1}, "surprise: unexpected field"),
        ({**record_of(1), "predictions": []}, "expected 2 predictions"),
        ({**record_of(1), "methods": ["other"]}, "the run has no method other"),
    ],
)
def test_an_invalid_record_in_a_folder_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: dict, fault: str
) -> None:
    trainer = FakeTrainer(tmp_path / "here", ID)
    trainer.snap()
    with (trainer.folder / "snapshots.jsonl").open("a") as index:
        index.write(json.dumps(line) + "\n" + json.dumps({**line, "number": line["number"] + 1}) + "\n")
    with caplog.at_level(logging.WARNING, "tfviz.viewer"), Viewer(tmp_path, port=0) as viewer:
        assert httpx.get(f"{viewer.address}api/runs/{ID}/state").json()["snapshots"] == 1
    (logged,) = [record.getMessage() for record in caplog.records if record.name == "tfviz.viewer"]
    assert fault in logged


@pytest.mark.parametrize(
    "damaged",
    [b"\0" * 40, b'{"number": 1, "when', b"[]", b"\xff\xfe", json.dumps({**record_of(1), "predictions": []}).encode()],
    ids=["zeros", "half a line", "a list", "not UTF-8", "no predictions"],
)
def test_a_damaged_line_hides_only_its_own_snapshot(tmp_path: Path, damaged: bytes) -> None:
    trainer = FakeTrainer(tmp_path / "here", ID)
    trainer.snap(5)
    index = trainer.folder / "snapshots.jsonl"
    lines = index.read_bytes().splitlines()
    lines[1] = damaged
    index.write_bytes(b"".join(line + b"\n" for line in lines))
    with Viewer(tmp_path, port=0) as viewer, httpx.Client(base_url=viewer.address) as client:
        assert numbers(client) == [0, 2, 3, 4]
        assert numbers(client, after=0) == numbers(client, after=1) == [2, 3, 4]
        assert client.get(f"/api/runs/{ID}/state").json() == {"snapshots": 4, "last": 4, "images": 2}
        trainer.snap()
        until(lambda: numbers(client, after=4) == [5], "the run continues")


def test_a_snapshot_after_a_damaged_one_is_accepted_if_the_sender_names_its_predecessor(client: httpx.Client) -> None:
    sender = Sender(client, ID)
    sender.open()
    sender.send(2)
    picture = png_of(image_of(0))
    for after in (-1, 0, 2):  # what the viewer has is 1
        assert sender.put(f"/pictures/3/grad_cam/0.png?after={after}", content=picture).status_code == 409
        assert sender.put(f"/snapshots/3?after={after}", json=record_of(3)).status_code == 409
    assert sender.put("/pictures/3/grad_cam/0.png?after=1", content=picture).status_code == 204
    assert sender.put("/snapshots/3?after=1", json=record_of(3)).status_code == 204
    assert numbers(client) == [0, 1, 3]
    # too late: counts as received
    assert sender.put("/snapshots/2", json=record_of(2)).status_code == 204
    assert numbers(client) == [0, 1, 3]


def test_an_invalid_run_json_and_a_copy_of_a_run_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FakeTrainer(tmp_path / "a", ID).snap()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    FakeTrainer(tmp_path / "broken", OTHER, methods=[])
    with caplog.at_level(logging.WARNING, "tfviz.viewer"), Viewer(tmp_path, port=0) as viewer:
        time.sleep(0.7)  # it looks more than once
        assert [run["id"] for run in httpx.get(f"{viewer.address}api/runs").json()] == [ID]
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name == "tfviz.viewer")
    assert logged.count("is skipped") == 2
    assert "Is it a copy?" in logged
    assert "methods: expected 1 to 64 items, got 0" in logged
