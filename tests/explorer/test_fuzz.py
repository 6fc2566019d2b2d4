"""No request makes the explorer crash or respond with a server error."""

from __future__ import annotations

import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.explorer_material import FIRST, explorer
from support.hostile_requests import Client, damaged, headers, part

from tfviz.explorer.limits import ExplorerLimits

PNG = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8))[1].tobytes()
QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with explorer(limits=ExplorerLimits(image_bytes=5_000, uploads=3)) as server:
        asking = Client(server)
        yield asking
        asking.connection.close()


values = {
    "image": st.sampled_from([FIRST, "upload/0", "file/x", ""]) | part,
    # few, because each is compiled
    "method": st.sampled_from(["grad_cam", "Grad-CAM", "saliency", "legrad", "expected_gradients", "", "x"]) | part,
    "layer": st.sampled_from(["", "block4_conv2", "block1_pool", "nowhere", "classes"]) | part,
    "target": st.integers(-2, 12).map(str) | st.integers().map(str) | part,
    "against": st.sampled_from(["rivals", "1", "12", "٣"]) | part,
    "page": st.sampled_from(["ab", "x"]) | part,
    "side": st.sampled_from(["a", "b", "c"]) | part,
    "alpha": st.floats().map(str) | part,
    "gray": st.sampled_from(["0", "1", "2"]) | part,
    "name": part,
}
queries = st.fixed_dictionaries({}, optional=values).map(lambda given: "&".join(f"{k}={v}" for k, v in given.items()))
likely = st.fixed_dictionaries(
    {"image": st.just(FIRST), "method": st.sampled_from(["grad_cam", "saliency"])},
    optional={name: values[name] for name in ("target", "layer", "alpha", "gray", "page", "side")},
).map(lambda given: "&".join(f"{k}={v}" for k, v in given.items()))
paths = st.sampled_from(
    ["map", "map.npy", "map.png", "overlay.png", "image.png", "thumbnail.png", "classes", "layers", "images"]
)
addresses = st.one_of(
    st.builds("/api/{}?{}".format, paths, queries),
    st.builds("/api/{}?{}".format, paths, likely),
    st.sampled_from(["/", "/api/model", "/main.js"]),
    part.map("/{}".format),
)
verbs = st.sampled_from(["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])


def ascii_only(address: str) -> str:
    return "".join(letter if letter.isascii() else "".join(f"%{b:02x}" for b in letter.encode()) for letter in address)


@QUICK
@given(verb=verbs, address=addresses, body=st.binary(max_size=200) | damaged(PNG), headers=headers)
def test_no_request_causes_a_server_error(client: Client, verb: str, address: str, body: bytes, headers: dict) -> None:
    status, content = client.ask(verb, ascii_only(address), body, headers)
    assert status < 500
    if status >= 400 and verb != "HEAD":
        assert json.loads(content)["detail"]


@QUICK
@given(data=damaged(PNG))
def test_a_damaged_image_is_rejected_or_explained(client: Client, data: bytes) -> None:
    status, content = client.ask("POST", "/api/images?name=x.png", data)
    assert status == 200 if data == PNG else status in (200, 422)
    if status == 200:
        id = json.loads(content)["id"]
        assert client.ask("GET", f"/api/map?method=grad_cam&image={id}")[0] == 200
