"""No request makes the viewer crash or respond with a server error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_runs import METHODS, FakeTrainer, image_of, png_of, record_of, run_of
from support.hostile_requests import Client, damaged, headers, part

from tfviz.viewer.limits import Limits
from tfviz.viewer.server import Viewer

KNOWN, SENT, NEW = "a" * 32, "b" * 32, "c" * 32
PNG = png_of(image_of(0))
LIMITS = Limits(run_bytes=10_000, record_bytes=5_000, runs=20)
QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("runs")
    FakeTrainer(folder / "here", KNOWN).snap(2)
    with Viewer(folder, port=0, limits=LIMITS) as viewer:
        asking = Client(viewer)
        assert asking.ask("PUT", f"/api/runs/{SENT}", json.dumps(run_of(SENT)).encode())[0] == 204
        yield asking
        asking.connection.close()


run_ids = st.sampled_from([KNOWN, SENT, NEW]) | part | st.text("0123456789abcdef", min_size=32, max_size=32)
counts = st.integers(-5, 300).map(str) | st.integers().map(str) | part
methods = st.sampled_from([key for key, _ in METHODS]) | part
addresses = st.one_of(
    run_ids.map("/api/runs/{}".format),
    run_ids.map("/api/runs/{}/state".format),
    st.builds("/api/runs/{}/images/{}.png".format, run_ids, counts),
    st.builds("/api/runs/{}/pictures/{}/{}/{}.png".format, run_ids, counts, methods, counts),
    st.builds("/api/runs/{}/snapshots/{}".format, run_ids, counts),
    st.builds("/api/runs/{}/snapshots?after={}".format, run_ids, counts),
    st.sampled_from(["/", "/api/runs", "/main.js"]),
    part.map("/{}".format),
    st.lists(part, max_size=8).map(lambda parts: "/" + "/".join(parts)),
)
verbs = st.sampled_from(["GET", "PUT", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def nearly(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """Return a valid document with one value replaced or deleted."""
    changed = json.loads(json.dumps(document))
    place: Any = changed
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or draw(st.booleans()):
            break
        place = inner
    if draw(st.booleans()):
        place[key] = draw(anything)
    else:
        del place[key]
    return json.dumps(changed).encode("utf-8", "surrogatepass")


bodies = st.one_of(
    st.binary(max_size=200),
    damaged(PNG),
    nearly(run_of(SENT)),
    nearly(run_of(NEW)),
    nearly(record_of(0)),
    anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
)


@QUICK
@given(verb=verbs, address=addresses, body=bodies, headers=headers)
def test_no_request_causes_a_server_error(client: Client, verb: str, address: str, body: bytes, headers: dict) -> None:
    assert client.ask(verb, address, body, headers)[0] < 500


@QUICK
@given(body=nearly(run_of(NEW)))
def test_a_run_is_either_stored_faithfully_or_rejected(client: Client, body: bytes) -> None:
    status, _ = client.ask("PUT", f"/api/runs/{NEW}", body)
    assert status in (204, 422)
    if status == 204:
        (shown,) = [run for run in client.found("/api/runs") if run["id"] == NEW]
        assert {key: shown[key] for key in run_of(NEW)} == json.loads(body)


@QUICK
@given(body=nearly(record_of(1)), back=st.integers(-1, 2))
def test_a_record_is_either_stored_faithfully_or_rejected(client: Client, body: bytes, back: int) -> None:
    last = client.found(f"/api/runs/{SENT}/state")["last"]
    number = max(0, last + 1 - back)
    body = body.replace(b'"number": 1,', f'"number": {number},'.encode())
    status, _ = client.ask("PUT", f"/api/runs/{SENT}/snapshots/{number}", body)
    assert status in (204, 409, 422)
    now = client.found(f"/api/runs/{SENT}/state")["last"]
    assert now == last + (status == 204 and number == last + 1)
    if now > last:
        assert client.found(f"/api/runs/{SENT}/snapshots?after={last}") == [json.loads(body)]


@QUICK
@given(data=damaged(PNG))
def test_a_damaged_picture_is_rejected_or_decodable(client: Client, data: bytes) -> None:
    status, _ = client.ask("PUT", f"/api/runs/{SENT}/images/0.png", data)
    assert status == 204 if data == PNG else status in (204, 422)
    if status == 204:
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (32, 32, 3)
