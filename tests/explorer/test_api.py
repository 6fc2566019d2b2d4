"""The explorer answers with the maps that Python makes."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from support.explorer_material import FIRST, SAMPLES, explorer  # noqa: E402

import tfviz  # noqa: E402
from tfviz.explorer.explainer_cache import ExplainerCache  # noqa: E402
from tfviz.explorer.limits import ExplorerLimits  # noqa: E402
from tfviz.explorer.network import Network  # noqa: E402
from tfviz.explorer.python_lines import ModelCode  # noqa: E402
from tfviz.explorer.recipe import Recipe  # noqa: E402
from tfviz.explorer.server import Explorer  # noqa: E402
from tfviz.explorer.session import Session  # noqa: E402
from tfviz.explorer.turns import Turn  # noqa: E402
from tfviz.images.folders import find_images  # noqa: E402
from tfviz.images.preprocessing import Preprocessing  # noqa: E402
from tfviz.render.overlays import Look, blended  # noqa: E402

MODEL = tfviz.load_model("shapes")
IMAGES = tfviz.load_images(SAMPLES, MODEL)


@pytest.fixture(scope="module")
def server() -> Iterator[Explorer]:
    with explorer(limits=ExplorerLimits(explainers=3, uploads=2)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Explorer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=120) as asking:
        yield asking


def get(client: httpx.Client, path: str, **parameters: Any) -> httpx.Response:
    return client.get(f"/api/{path}", params={"image": FIRST, "method": "grad_cam", **parameters})


def values_of(client: httpx.Client, **parameters: Any) -> np.ndarray:
    return np.load(io.BytesIO(get(client, "map.npy", **parameters).content))


def picture_of(response: httpx.Response) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)
    return found if found.ndim == 2 else cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def test_the_model_is_described_with_a_reason_for_each_method_that_cannot_work(client: httpx.Client) -> None:
    model = client.get("/api/model").json()
    assert (model["name"], model["size"], model["classes"], model["kind"]) == ("shapes", [96, 96], 10, "probability")
    assert [one["id"] for one in model["images"]] == [f"file/{path.name}" for path in SAMPLES]
    assert [one["key"] for one in model["methods"]] == list(tfviz.METHODS)
    unusable = {one["key"]: one["reason"] for one in model["methods"] if one["reason"]}
    assert set(unusable) == {"expected_gradients", "attention_rollout", "gradient_attention", "legrad"}
    assert "--backgrounds" in unusable["expected_gradients"]
    assert "vision transformers" in unusable["legrad"]


def test_the_classes_are_the_ten_highest_in_order(client: httpx.Client) -> None:
    classes = client.get("/api/classes", params={"image": FIRST}).json()["classes"]
    scores = np.asarray(MODEL(IMAGES[:1]))[0]
    assert [one["class"] for one in classes] == np.argsort(-scores, kind="stable")[:10].tolist()
    np.testing.assert_allclose([one["score"] for one in classes], np.sort(scores)[::-1][:10], atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "make"),
    [
        ({}, lambda: tfviz.GradCAM(MODEL)(IMAGES[:1])),
        ({"target": 3}, lambda: tfviz.GradCAM(MODEL)(IMAGES[:1], 3)),
        ({"target": 3, "against": 7}, lambda: tfviz.GradCAM(MODEL)(IMAGES[:1], np.eye(10)[[3]] - np.eye(10)[[7]])),
        ({"target": 3, "against": "rivals"}, lambda: tfviz.GradCAM(MODEL)(IMAGES[:1], tfviz.Against(3))),
        ({"layer": "block2_pool", "target": 3}, lambda: tfviz.GradCAM(MODEL, "block2_pool")(IMAGES[:1], 3)),
        ({"method": "visual_backprop", "target": 3}, lambda: tfviz.VisualBackProp(MODEL)(IMAGES[:1])),
    ],
)
def test_a_map_equals_that_of_its_explainer(client: httpx.Client, parameters: dict[str, Any], make: Any) -> None:
    want = np.asarray(make())[0]
    found = values_of(client, **parameters)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * abs(want).max())
    assert get(client, "map", **parameters).json()["shape"] == list(want.shape)


@pytest.mark.parametrize("method", ["grad_cam", "guided_backprop"])
def test_the_overlay_is_that_of_tfviz(client: httpx.Client, method: str) -> None:
    picture = picture_of(client.get("/api/image.png", params={"image": FIRST}))
    np.testing.assert_array_equal(picture, tfviz.read_image(SAMPLES[0]))
    values = values_of(client, method=method).astype(np.float64)
    for look, parameters in ((Look(0.7), {"alpha": 0.7}), (Look(0.5, "gray"), {"gray": 1})):
        want = blended(picture, values, tfviz.METHODS[method].style, look)
        np.testing.assert_array_equal(picture_of(get(client, "overlay.png", method=method, **parameters)), want)


def test_a_weak_map_is_captioned_and_dimmed(client: httpx.Client) -> None:
    top = get(client, "map").json()
    weak = get(client, "map", target=3).json()
    assert top["words"] == ""
    assert weak["words"] == f"peak less than 1% of {top['class']['name']} (nearly empty)"
    assert weak["is_nearly_empty"]
    assert picture_of(get(client, "map.png", target=3)).max() < 80 < picture_of(get(client, "map.png")).max()
    assert get(client, "map", method="excitation_backprop").json()["words"] == "sum 1.00 of 1"


def test_only_layers_at_which_the_method_works_are_offered(client: httpx.Client) -> None:
    cam = client.get("/api/layers", params={"method": "grad_cam"}).json()
    assert cam["default"] == "block4_conv2"
    assert {"path": "block4_conv2", "shape": "12×12×128", "kind": "Conv2D"} in cam["layers"]
    excitation = client.get("/api/layers", params={"method": "excitation_backprop"}).json()
    assert excitation["default"] == "image"
    assert "classes" not in [one["path"].split("/")[-1] for one in cam["layers"] + excitation["layers"]]
    for path in (cam["layers"][0]["path"], excitation["layers"][-1]["path"]):
        method = "grad_cam" if path == cam["layers"][0]["path"] else "excitation_backprop"
        assert get(client, "map", method=method, layer=path).status_code == 200
    assert client.get("/api/layers", params={"method": "saliency"}).json() == {"default": None, "layers": []}


def test_an_upload_is_found_by_its_digest_until_newer_ones_replace_it(client: httpx.Client) -> None:
    files = [cv2.imencode(".png", np.full((40, 40, 3), shade, np.uint8))[1].tobytes() for shade in (10, 90, 200)]
    made = [client.post("/api/images", params={"name": f"{n}.png"}, content=data).json() for n, data in enumerate(files)]
    again = client.post("/api/images", params={"name": "2.png"}, content=files[2]).json()
    assert again == made[2] and made[2]["id"].startswith("upload/")
    lost = get(client, "map", image=made[0]["id"])
    assert (lost.status_code, "Drop its file on the page again" in lost.json()["detail"]) == (404, True)
    assert picture_of(client.get("/api/image.png", params={"image": made[1]["id"]})).mean() == 90
    assert "load_images('2.png', model)" in get(client, "map", image=made[2]["id"]).json()["python"]


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"method": "grad-kam"}, 422, "no method"),
        ({"method": "legrad"}, 422, "vision transformers"),
        ({"layer": "nowhere"}, 422, "has no layer 'nowhere'"),
        ({"method": "saliency", "layer": "block1_pool"}, 422, "does not accept a layer"),
        ({"target": 10}, 422, "The model has 10 classes (0 to 9). Received: 10."),
        ({"target": 1, "against": 10}, 422, "Received: 10."),
        ({"target": -1}, 422, "Invalid target"),
        ({"against": "x"}, 422, "Invalid against"),
        ({"image": "file/../x"}, 404, "There is no image"),
        ({"page": "XYZ"}, 422, "Invalid page"),
    ],
)
def test_an_impossible_map_is_an_error_that_says_why(
    client: httpx.Client, parameters: dict[str, Any], status: int, words: str
) -> None:
    response = get(client, "map", **parameters)
    assert (response.status_code, words in response.json()["detail"]) == (status, True), response.text


def test_an_error_of_the_model_itself_is_an_error_of_the_request(
    client: httpx.Client, server: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise MemoryError("too little")

    monkeypatch.setattr(server.session.maps, "get", failing)
    response = get(client, "map")
    assert (response.status_code, "MemoryError: too little" in response.json()["detail"]) == (422, True)


def test_few_explainers_are_kept_and_the_oldest_leave_first(client: httpx.Client, server: Explorer) -> None:
    for method in ("saliency", "grad_cam", "gradient_times_input", "deconvnet"):
        assert get(client, "map", method=method, target=5).status_code == 200
    cache = server.session.maps.explainers
    assert len(cache) == 3
    assert ("saliency", None) not in cache
    assert ("deconvnet", None) in cache


def test_the_explainer_used_last_is_kept() -> None:
    built = []
    cache = ExplainerCache(lambda method, layer: built.append(method) or method, most=2)  # type: ignore[arg-type, return-value]
    for method in ("a", "b", "a", "c", "a"):
        cache.get(method, None)
    assert built == ["a", "b", "c"]


def test_an_image_of_any_size_is_bounded_by_the_network_that_takes_it() -> None:
    from tfviz.errors import ImageError
    from tfviz.explorer.image_store import ImageStore

    data = cv2.imencode(".png", np.zeros((40, 50, 3), np.uint8))[1].tobytes()
    ImageStore([], Preprocessing((8, 8)), ExplorerLimits(network_pixels=1999)).add(data, "a.png")
    with pytest.raises(ImageError, match=r"runs it on at most 1999 pixels\. Restart with a fixed size, such as --image-size"):
        ImageStore([], Preprocessing(), ExplorerLimits(network_pixels=1999)).add(data, "a.png")


def test_a_newer_request_of_a_page_replaces_those_that_wait_and_others_are_answered(
    server: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers other requests while a map is computed."""
    started, go, compute = threading.Event(), threading.Event(), server.session.maps.get

    def slow(*arguments: Any) -> Any:
        started.set()
        assert go.wait(60)
        return compute(*arguments)

    monkeypatch.setattr(server.session.maps, "get", slow)
    answers: dict[str, int] = {}

    def ask(name: str, target: int, **who: str) -> threading.Thread:
        def work() -> None:
            with httpx.Client(base_url=server.address, timeout=120) as own:
                answers[name] = get(own, "map", target=target, **who).status_code

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    threads = [ask("running", 1, page="cc")]
    assert started.wait(60)
    with httpx.Client(base_url=server.address, timeout=20) as other:
        started_s = time.monotonic()
        assert other.get("/").status_code == 200
        assert other.get("/api/thumbnail.png", params={"image": FIRST}).status_code == 200
        assert time.monotonic() - started_s < 10
        for number in range(3):
            threads.append(ask(f"waiting {number}", 2 + number, page="aa", side="a"))
            time.sleep(0.3)
        threads += [ask("other side", 5, page="aa", side="b"), ask("other page", 6, page="bb", side="a")]
        for thread in threads[1:3]:
            thread.join(60)
        assert answers == {"waiting 0": 409, "waiting 1": 409}
    go.set()
    for thread in threads:
        thread.join(120)
    assert {name for name, status in answers.items() if status == 200} == {"running", "waiting 2", "other side", "other page"}


def test_a_long_computation_ends_when_it_is_replaced(server: Explorer, client: httpx.Client) -> None:
    """RISE takes many passes; between two of them, the worker looks whether somebody waits."""
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(get(client, "map", method="rise", page="dd").status_code))
    slow.start()
    time.sleep(1.0)
    with httpx.Client(base_url=server.address, timeout=120) as other:
        assert get(other, "map", page="dd").status_code == 200
    slow.join(60)
    assert answers == [409]


def test_too_many_waiting_computations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from tfviz.explorer.turns import Turns
    from tfviz.viewer.http_errors import HttpError

    async def scene() -> None:
        turns, go = Turns(most=1), threading.Event()
        running = [asyncio.ensure_future(turns.run(lambda _: go.wait(60))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(HttpError, match=r"2 computations are already waiting\. Try again later\."):
            await turns.run(lambda _: None)
        go.set()
        assert await asyncio.gather(*running) == [True, True]
        turns.close()

    asyncio.run(scene())


def test_a_file_that_changed_is_explained_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(SAMPLES[0].read_bytes())
    code, limits = ModelCode(""), ExplorerLimits()
    session = Session(MODEL, find_images([path]), name="", code=code, backgrounds=None, limits=limits)
    recipe = Recipe("file/a.png", "saliency", target=1)
    first = session.maps.get(recipe, Turn()).values
    path.write_bytes(SAMPLES[1].read_bytes())
    np.testing.assert_array_equal(session.images.image(recipe.image).picture, tfviz.read_image(SAMPLES[1]))
    assert not np.array_equal(session.maps.get(recipe, Turn()).values, first)
    assert session.maps.get(recipe, Turn()) is session.maps.get(recipe, Turn())


def test_a_method_without_a_default_layer_is_described_as_needing_one() -> None:
    inputs = keras.Input((8, 8, 3))
    convolved = [keras.layers.Conv2D(2, 3, activation="relu", name=name)(inputs) for name in "ab"]
    branches = [keras.layers.GlobalAveragePooling2D()(one) for one in convolved]
    network = Network(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(branches))))
    described = {one["key"]: one for one in network.methods()}
    assert (described["grad_cam"]["reason"], described["grad_cam"]["needs_layer"]) == (None, True)
    assert network.default_layer("grad_cam") is None
    assert {"a", "b"} <= {one.path for one in network.layers("grad_cam")}
    assert not described["excitation_backprop"]["needs_layer"] and not described["legrad"]["needs_layer"]
