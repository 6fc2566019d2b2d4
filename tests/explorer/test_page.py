"""The explorer in a real browser, operated as a person would."""

from __future__ import annotations

import base64
import io
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")
playwright.expect.set_options(timeout=60_000)

from support.browser import NARROW, WIDE, contrast  # noqa: E402
from support.explorer_material import FIRST, SAMPLES, explorer  # noqa: E402

import tfviz  # noqa: E402
from tfviz.explorer.server import Explorer  # noqa: E402
from tfviz.shapes import KINDS, SAMPLES_DIR  # noqa: E402

DROPPED = SAMPLES_DIR / "ring_cross.png"
CLIPBOARD = ["clipboard-read", "clipboard-write"]
MAP, IMAGE, LAYERS = "**/api/map?*", "**/api/image.png?*", "**/api/layers?*method=layer_cam*"
ROW = {"path": "block4_conv1", "shape": "12×12×128", "kind": "Conv2D"}


@pytest.fixture(scope="module")
def server() -> Iterator[Explorer]:
    with explorer() as running:
        yield running


def drop(page: Any, path: Path) -> None:
    script = """([text, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name, { type: "image/png" }));
        return data;
    }"""
    data = page.evaluate_handle(script, [base64.b64encode(path.read_bytes()).decode(), path.name])
    page.dispatch_event("body", "drop", {"dataTransfer": data})


def until_ready(page: Any, side: str = "a", *words: str) -> Any:
    """Wait for a map, and return its panel."""
    panel = page.locator(f"#panel-{side}")
    for word in words:
        playwright.expect(panel).to_contain_text(word)
    playwright.expect(panel).to_have_attribute("aria-busy", "false")
    playwright.expect(panel.locator(".cover")).to_be_hidden()
    return panel


def pixels(page: Any, side: str) -> np.ndarray:
    script = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, btoa(data.reduce((text, one) => text + String.fromCharCode(one), ""))];
    }"""
    height, width, text = page.locator(f"#panel-{side} canvas").evaluate(script)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def test_a_person_explores_an_image(
    server: Explorer, open_page: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(server.address, permissions=CLIPBOARD)
    until_ready(page)
    drop(page, DROPPED)
    until_ready(page, "a", "ring · score")
    playwright.expect(page.locator("#images input")).to_have_count(len(SAMPLES) + 1)

    for name in ("cross", "ring", "star"):  # three classes
        page.locator("#classes .prediction", has_text=name).click()
        until_ready(page, "a", f"{name} · score")
    playwright.expect(page.locator("#panel-a .weak")).to_contain_text("empty")

    for layer in ("block2_pool", "block3_conv2", "block4_conv1"):  # three layers
        page.locator(f"#layers input[value='{layer}']").check(force=True)
        until_ready(page, "a", f"at {layer}")

    page.locator("#compare").click()  # two methods, side by side
    page.get_by_role("tab", name="Gradient × Input").click()
    until_ready(page, "b", "Gradient × Input", "star · score")
    page.get_by_role("tab", name="LeGrad").click(force=True)  # it has aria-disabled
    playwright.expect(page.locator("#question")).to_contain_text(
        "LeGrad is not available. legrad supports only vision transformers"
    )
    until_ready(page, "b", "Gradient × Input")
    page.locator("#panel-image canvas").hover(position={"x": 30, "y": 40})
    playwright.expect(page.locator("#panel-a .value")).to_contain_text("row")
    playwright.expect(page.locator("#panel-b .value")).to_contain_text("row")
    page.locator("#alpha").fill("80")
    page.locator("#panel-a canvas").click()
    page.get_by_label("vs cross: subtract it").click()
    until_ready(page, "a", "star against cross")
    page.locator("body").press("1")  # the top class
    until_ready(page, "a", "ring against cross")

    page.locator("#copy-python").click()
    playwright.expect(page.locator("#copied")).to_have_text("Python code copied")
    code = page.evaluate("() => navigator.clipboard.readText()")
    (tmp_path / DROPPED.name).write_bytes(DROPPED.read_bytes())
    names: dict[str, Any] = {"__name__": "copied"}
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code, names)
    found = np.asarray(names["attribution"])
    with page.expect_download() as download:
        page.locator("#download-npy").click()
    assert download.value.suggested_filename == "ring_cross-grad_cam-ring-against_cross.npy"
    shown = np.load(io.BytesIO(download.value.path().read_bytes()))
    np.testing.assert_array_equal(shown, found)
    want = tfviz.overlay(tfviz.read_image(DROPPED), found, alpha=0.8)
    assert abs(pixels(page, "a").astype(int) - want).max() <= 2
    with page.expect_download() as download:
        page.locator("#download-png").click()
    np.testing.assert_array_equal(tfviz.read_image(download.value.path()), want)

    page.locator("#copy-link").click()
    playwright.expect(page.locator("#copied")).to_have_text("Link copied")
    again = open_page(page.evaluate("() => navigator.clipboard.readText()"))
    until_ready(again, "a", "Grad-CAM", "ring against cross", "at block4_conv1")
    until_ready(again, "b", "Gradient × Input", "star · score")
    playwright.expect(again.locator("#alpha")).to_have_value("80")
    np.testing.assert_array_equal(pixels(again, "a"), pixels(page, "a"))


def test_a_hundred_random_clicks_cause_no_error(
    server: Explorer, open_page: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    page = open_page(server.address, NARROW)
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    until_ready(page)
    draw = random.Random(0)
    script = """(share) => {
        const every = document.querySelectorAll("button, label:not([for]), canvas, summary");
        const all = [...every].filter((one) => one.checkVisibility());
        all[Math.floor(share * all.length)].click();
    }"""
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            page.evaluate(script, draw.random())
            page.wait_for_timeout(draw.choice([0, 10, 100]))
        for side in "ab" if page.locator("#panel-b").is_visible() else "a":
            until_ready(page, side)
    assert len(statuses) > 50
    assert set(statuses) <= {200, 409}
    assert caplog.messages == []


def answered(page: Any) -> list[tuple[str, int]]:
    """Collect the URLs and statuses of all responses from now on."""
    found: list[tuple[str, int]] = []
    page.on("response", lambda response: found.append((response.url, response.status)))
    return found


def test_a_layer_clicked_just_after_another_method_was_chosen_is_ignored(
    server: Explorer, open_page: Callable[..., Any]
) -> None:
    """The page redraws once per frame, so two clicks can come before the layers disappear."""
    page = open_page(f"{server.address}#image={FIRST}")
    until_ready(page)
    playwright.expect(page.locator("#layers input:checked")).to_have_count(1)
    responses = answered(page)
    page.evaluate("""() => {
        document.getElementById("tab-saliency").click();
        document.querySelector("#layers input[value='block2_pool']").click();
    }""")
    until_ready(page, "a", "Saliency")
    assert {status for _, status in responses} == {200}
    assert "layer" not in page.evaluate("() => location.hash")


def test_a_layer_is_dropped_before_the_map_is_requested_if_the_new_method_lacks_it(
    server: Explorer, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server.address}#image={FIRST}&layer=block2_pool")
    until_ready(page, "a", "at block2_pool")
    page.route(LAYERS, lambda route: route.fulfill(json={"default": "block4_conv1", "layers": [ROW]}))
    responses = answered(page)
    page.get_by_role("tab", name="Layer-CAM").click()
    until_ready(page, "a", "Layer-CAM", "at block4_conv2")
    assert [url for url, _ in responses if "/map?" in url and "block2_pool" in url] == []
    playwright.expect(page.locator("#layers input")).to_have_count(1)


def test_a_method_without_a_default_layer_waits_for_its_layers(server: Explorer, open_page: Callable[..., Any]) -> None:
    model = httpx.get(f"{server.address}api/model", timeout=60).json()
    next(one for one in model["methods"] if one["key"] == "layer_cam")["needs_layer"] = True
    page = open_page("about:blank")
    page.route("**/api/model", lambda route: route.fulfill(json=model))
    page.route(LAYERS, lambda route: route.fulfill(json={"default": None, "layers": [ROW]}))
    responses = answered(page)
    page.goto(f"{server.address}#image={FIRST}&method=layer_cam")
    until_ready(page, "a", "Layer-CAM", "at block4_conv1")
    assert all("layer=block4_conv1" in url for url, _ in responses if "/api/map" in url)


def test_a_link_with_choices_that_do_not_fit_leads_to_a_map(server: Explorer, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server.address}#image={FIRST}")
    until_ready(page)
    responses = answered(page)
    for link, words in (
        ("method=legrad&layer=nowhere", ["Saliency"]),  # the first method that supports the model
        ("method=layer_cam&layer=nowhere", ["Layer-CAM", "at block4_conv2"]),
        ("method=saliency&layer=block2_pool&target=3&against=3", ["Saliency", f"{KINDS[3]} · score"]),
    ):
        page.evaluate("(link) => { location.hash = link; }", f"image={FIRST}&{link}")
        until_ready(page, "a", *words)
    assert {status for _, status in responses} == {200}
    assert not [url for url, _ in responses if "against" in url]


def test_what_failed_is_requested_again(server: Explorer, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server.address}#image={FIRST}")
    until_ready(page)
    for pattern in (MAP, IMAGE):
        page.route(pattern, lambda route: route.abort())
    page.locator("#images input").nth(1).check(force=True)
    panel = page.locator("#panel-a")
    playwright.expect(panel).to_contain_text("The server is not responding")
    for pattern in (MAP, IMAGE):
        page.unroute(pattern)
    panel.get_by_role("button", name="Try again").click()
    until_ready(page, "a", "score")
    playwright.expect(page.locator("#panel-image canvas")).to_have_class("")
    playwright.expect(page.locator("#message")).to_be_hidden()


def test_an_image_that_the_server_no_longer_has_is_asked_for(server: Explorer, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server.address}#image=upload/{'0' * 64}&method=saliency")
    playwright.expect(page.locator("#message")).to_contain_text("Drop its file on the page again")
    page.locator("#images input").first.check(force=True)
    until_ready(page, "a", "Saliency")
    playwright.expect(page.locator("#message")).to_be_hidden()
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no image"})
    playwright.expect(page.locator("#message")).to_contain_text("x.png is not a JPEG, PNG")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_fits_and_is_legible(
    server: Explorer, open_page: Callable[..., Any], size: tuple[int, int], scheme: str
) -> None:
    page = open_page(f"{server.address}#image={FIRST}&method2=grad_cam&target2=3", size, color_scheme=scheme)
    until_ready(page, "b", "nearly empty")
    page.locator("#code-box summary").click()
    wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    for place in ("#model-about", "#question", ".tabs [aria-selected=true]", ".tabs [aria-disabled=true]", ".what", ".weak"):
        assert contrast(page, place) >= 4.5, place


def test_the_page_works_from_the_keyboard(server: Explorer, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server.address}#image={FIRST}")
    until_ready(page, "a", "at block4_conv2")
    playwright.expect(page.locator("#layers input:checked")).to_have_count(1)
    page.keyboard.press(",")
    until_ready(page, "a", "at block4_conv1")
    page.keyboard.press("2")
    until_ready(page, "a", "bolt · score")
    page.keyboard.press("]")
    playwright.expect(page.locator("#images input").nth(1)).to_be_checked()
    page.locator("#panel-a canvas").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#panel-a .value")).to_contain_text("row 6, column 6")
    page.keyboard.press("ArrowUp")
    playwright.expect(page.locator("#panel-a .value")).to_contain_text("row 5, column 6")
    playwright.expect(page.locator("#news")).to_contain_text("row 5, column 6")
    page.get_by_role("tab", name="Grad-CAM", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until_ready(page, "a", "Grad-CAM++")
    page.keyboard.press("?")
    playwright.expect(page.get_by_role("dialog")).to_contain_text("compare two maps")
    page.keyboard.press("Escape")


def test_the_token_is_requested_once(open_page: Callable[..., Any]) -> None:
    with explorer(token="open-sesame") as locked:
        page = open_page(locked.address)
        page.get_by_label("Token").fill("open-sesame")
        page.get_by_role("button", name="Open").click()
        until_ready(page)
        drop(page, DROPPED)
        until_ready(page, "a", "ring · score")
        assert httpx.get(f"{locked.address}api/model").status_code == 401
