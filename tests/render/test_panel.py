"""The panel: what its HTML holds, and what it shows in a browser."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow

import tfviz
from tfviz.errors import ImageError, OptionError
from tfviz.render import Panel, show
from tfviz.render.overlays import Look, blended
from tfviz.render.panel import MOST_IMAGES
from tfviz.shapes import SAMPLES_DIR

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (2, 40, 60, 3), np.uint8)
MAPS = RANDOM.random((2, 7, 7))
TARGETS = {"top1": MAPS, "top2": MAPS * 0.001}
SCORES = {"top1": [0.9, 0.8], "top2": [0.1, 0.2]}
CLASSES = {"top1": ["tabby", "ring"], "top2": ["lynx", "disc"]}
HOSTILE = """</style><script>alert("1")</script>'"&$id \ud800"""


class Page(HTMLParser):
    """The elements with their attributes, and the text of each cell."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag in ("th", "td"):
            self.cells.append([])

    def handle_data(self, data: str) -> None:
        if self.cells and self.open not in ("script", "style") and data.strip():
            self.cells[-1].append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(panel: Panel) -> Page:
    return Page(panel._repr_html_())


def test_every_image_is_beside_its_maps_with_classes_scores_and_strengths() -> None:
    page = page_of(
        show(PICTURES, {"grad_cam": TARGETS, "visual_backprop": MAPS}, captions=["a", "b"], scores=SCORES, classes=CLASSES)
    )
    peak = f"{MAPS[0].max():.3g}"
    assert page.cells[0] == ["a"]
    assert page.cells[1] == ["0", peak, "Grad-CAM", "top1: tabby", "score 0.90"]
    assert page.cells[2][2:] == ["Grad-CAM", "top2: lynx", "score 0.10", "peak less than 1% of top1 (nearly empty)"]
    assert page.cells[3][2:] == ["VisualBackProp", "one map for all targets"]
    assert [image["alt"] for image in page.all("img")[:4]] == [
        "Image 0: a",
        "Grad-CAM for top1: tabby, image 0",
        "Grad-CAM for top2: lynx, image 0",
        "VisualBackProp, image 0",
    ]
    assert [box["name"] for box in page.all("input") if box["type"] == "radio"] == ["target"] * 3 + ["method"] * 3


def test_the_plain_text_names_methods_and_targets() -> None:
    assert repr(show(PICTURES, {"grad_cam": TARGETS, "saliency": MAPS})) == "Panel(2 images; Grad-CAM, Saliency; top1, top2)"


def test_nothing_is_loaded_from_elsewhere_and_ids_are_unique() -> None:
    panel = show(PICTURES, {"grad_cam": MAPS, "saliency": MAPS - 0.5, "deconvnet": MAPS[..., None] - 0.5})
    first, second = panel._repr_html_(), panel._repr_html_()
    found = re.findall(r"(?:src|href|url|import)\s*[=(]\s*[\"']?([^\"')\s]+)", first.partition("<script>")[0])
    assert found and all(address.startswith(("data:image/", "#tfviz-")) for address in found)
    ids = [{attributes["id"] for _, attributes in Page(html).elements if "id" in attributes} for html in (first, second)]
    assert len(ids[0]) == 2 and not ids[0] & ids[1]
    selectors = re.findall(r"^ *(#[^{]*|[a-z.*][^{]*){", first.partition("<style>")[2].partition("</style>")[0], re.M)
    assert len(selectors) > 30
    assert all(part.strip().startswith("#tfviz-") for selector in selectors for part in selector.split(","))


def test_hostile_texts_are_shown_as_text() -> None:
    panel = show(
        PICTURES, {HOSTILE: {HOSTILE: MAPS}}, captions=[HOSTILE] * 2, scores={HOSTILE: [1, 0]}, classes={HOSTILE: [HOSTILE] * 2}
    )
    html = panel._repr_html_()
    assert html.count("<script") == html.count("</style") == 1
    page = Page(html)
    shown = HOSTILE.replace("\ud800", "?")
    assert page.cells[0] == [shown]
    assert page.cells[1][2:4] == [shown, f"{shown}: {shown}"]
    assert page.all("img")[1]["alt"] == f"{shown} for {shown}: {shown}, image 0"


def test_eight_images_with_four_methods_of_the_worst_kind_stay_below_a_megabyte() -> None:
    noise = RANDOM.integers(0, 256, (8, 500, 375, 3), np.uint8)
    maps = RANDOM.normal(size=(8, 300, 225, 3))
    methods = ["saliency", "deconvnet", "guided_backprop", "integrated_gradients"]
    assert len(show(noise, dict.fromkeys(methods, maps))._repr_html_().encode()) < 1_000_000


def decoded(source: str) -> np.ndarray:
    data = base64.b64decode(source.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_zero_in_a_signed_map_has_the_middle_color_even_with_few_colors() -> None:
    maps = RANDOM.normal(size=(1, 400, 400))
    maps[:, 100:300, 100:300] = 0
    panel = show(RANDOM.integers(0, 256, (1, 400, 400, 3), np.uint8), {"saliency": maps})
    layer = decoded(page_of(panel).all("img")[1]["src"])
    middle = layer[len(layer) // 2, len(layer) // 2, :3]
    assert len(np.unique(layer.reshape(-1, 4), axis=0)) < 65
    np.testing.assert_array_equal(middle[::-1], Look().color_bar("signed")[128])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ImageError, match=rf"at most {MOST_IMAGES} images\. Received: 65"):
        show(np.zeros((65, 4, 4, 3), np.uint8), {"x": np.zeros((65, 2, 2))})
    with pytest.raises(OptionError, match="`classes` has an entry for 'top3', which has no maps"):
        show(PICTURES, {"x": TARGETS}, classes={"top3": ["a", "b"]})
    with pytest.raises(ImageError, match=r"`classes` must have one name per image\. Received: 1 names"):
        show(PICTURES, {"x": TARGETS}, classes={"top1": ["a"]})


def test_one_image_without_a_batch_axis() -> None:
    assert len(page_of(show(PICTURES[0], {"grad_cam": MAPS[0]})).cells) == 2


def test_an_explainer_shows_classes_scores_and_original_colors() -> None:
    model = tfviz.load_model("shapes")
    images = tfviz.load_images(SAMPLES_DIR, model)[:3]
    explainer = tfviz.GradCAM(model)
    panel = explainer.show(images, "top2", batch_size=2)
    scores = model(images).numpy()
    names = np.array(explainer.labels.names)
    best = np.argsort(-scores, axis=1)
    assert (
        list(panel.classes["top1"]) == names[best[:, 0]].tolist() and list(panel.classes["top2"]) == names[best[:, 1]].tolist()
    )
    assert panel.captions[1] == f"predicted: {names[best[1, 0]]} {scores[1, best[1, 0]]:.2f}"
    assert panel.columns[1].notes[1].startswith(f"score {scores[1, best[1, 1]]:.2f}\npeak ")
    np.testing.assert_array_equal(panel.canvas.pictures, images.pictures)
    np.testing.assert_allclose(panel.values[1], explainer(images, "top2")["top2"], atol=1e-5)
    free = tfviz.VisualBackProp(model).show(images)
    assert free.classes == {} and "score" not in "".join(free.columns[0].notes)
    with pytest.raises(ImageError, match="needs batches"):
        explainer.show(images[0])


def test_an_explainer_draws_preprocessed_images_in_the_colors_that_its_model_tells(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(2, 3, activation="relu")(inputs)
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(features)).save(tmp_path / "model.keras")
    model = tfviz.load_model(tmp_path / "model.keras", preprocessing="caffe")
    colors = RANDOM.integers(0, 256, (2, 8, 8, 3), np.uint8)
    tensors = np.stack([tfviz.models.preprocessing_of(model).tensor(one) for one in colors])
    explainer = tfviz.VisualBackProp(model)
    for given in (tensors, list(tensors), tensorflow.constant(tensors)):
        assert np.abs(np.array(explainer.show(given).canvas.pictures).astype(int) - colors).max() <= 1
    assert (np.array(explainer.show(tensors, pictures=PICTURES).canvas.pictures) == PICTURES).all()


def opened(browser: Any, path: Path, **options: Any) -> Any:
    page = browser.new_context(viewport={"width": 1200, "height": 800}, **options).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(path.as_uri())
    return page


def shown(page: Any) -> list[str | None]:
    return [cell.get_attribute("alt") for cell in page.locator("td img").all() if cell.is_visible()]


def color_of(page: Any, locator: Any) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(locator.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return picture[len(picture) // 2, picture.shape[1] // 2, ::-1].astype(int)


def test_the_slider_blends_as_plot_does(tmp_path: Path, browser: Any) -> None:
    gray = np.full((1, 32, 32, 3), 128, np.uint8)
    maps = {"heatmap": np.ones((1, 1, 1)), "zero": np.zeros((1, 1, 1)), "signed": -np.ones((1, 1, 1))}
    page = opened(browser, show(gray, maps, styles={"signed": "signed"}).save(tmp_path / "page.html"))
    for alpha in (0.5, 0.8, 0, 1):
        page.locator("[type=range]").fill(str(round(100 * alpha)))
        for cell, (style, values) in enumerate(maps.items()):
            look = Look(alpha, underlay="gray")
            expected = blended(gray[0], values[0], "signed" if style == "signed" else "heatmap", look)[16, 16]
            np.testing.assert_allclose(color_of(page, page.locator(".map").nth(cell)), expected, atol=3)


def test_tabs_choose_methods_and_targets_by_keyboard(tmp_path: Path, browser: Any) -> None:
    panel = show(PICTURES[0], {"grad_cam": {"top1": MAPS[0], "top2": MAPS[1]}, "visual_backprop": MAPS[0]})
    path = tmp_path / "page.html"
    twice = panel._repr_html_()
    path.write_text(f"<title>x</title>{twice}{twice}{panel._repr_html_()}", encoding="utf-8")
    page = opened(browser, path)
    others = shown(page)[2:]
    assert shown(page)[:2] == ["Grad-CAM for top1, image 0", "VisualBackProp, image 0"]
    page.locator("[name=target]").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["Grad-CAM for top2, image 0", "VisualBackProp, image 0", *others]
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["Grad-CAM for top2, image 0", *others]
    both = [page.locator(".map").nth(number) for number in (1, 3)]
    before = [color_of(page, one) for one in both]
    page.locator("[type=range]").first.fill("0")
    assert (color_of(page, both[0]) != before[0]).any()
    np.testing.assert_array_equal(color_of(page, both[1]), before[1])


def test_without_javascript_all_maps_are_in_a_plain_table(tmp_path: Path, browser: Any) -> None:
    path = show(PICTURES, {"grad_cam": TARGETS, "saliency": TARGETS}).save(tmp_path / "page.html")
    page = opened(browser, path, java_script_enabled=False)
    assert len(shown(page)) == 8
    assert not page.locator("form").is_visible()


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_fits_its_width(tmp_path: Path, browser: Any, width: int) -> None:
    path = show(PICTURES, dict.fromkeys("abcd", MAPS), captions=["long" * 40, ""]).save(tmp_path / "page.html")
    page = opened(browser, path)
    page.set_viewport_size({"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (
        page.evaluate("(() => { const s = document.querySelector('.scroll'); return s.scrollWidth - s.clientWidth; })()") == 0
    )
