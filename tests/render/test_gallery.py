"""The gallery page, read with an HTML parser."""

from __future__ import annotations

import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.browser import NARROW

from tfviz.errors import OutputError
from tfviz.render import GalleryEntry, GalleryFailure, GalleryMap, gallery, write_gallery

UNUSUAL_NAMES = [
    "tabby cat.jpg",
    "100% #1?.jpg",
    "Größe 猫.jpg",
    """a'b"c&d;.jpg""",
    "<script>alert(1)</script>.jpg",
    "C:like.jpg",
    "dollar $title.jpg",
]


class Page(HTMLParser):
    """The elements with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + "\n"

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def entry(name="cat.jpg", maps=None, **options):
    maps = [GalleryMap("Grad-CAM", "tabby", f"maps/{name}")] if maps is None else maps
    return GalleryEntry(name, f"pictures/{name}", [("tabby", 0.83), ("tiger cat", 0.04)], maps, **options)


def written(folder, entries, **options):
    return Page(write_gallery(folder, entries, **{"title": "Shapes", **options}))


def test_every_image_is_beside_its_maps_and_classes(tmp_path):
    maps = [GalleryMap("Grad-CAM", "tabby", "maps/a.png"), GalleryMap("Saliency", "tabby", "maps/b.png", "grey")]
    page = written(tmp_path, [entry("cat.jpg", maps), entry("dog.jpg")])
    pictures = [image["src"] for image in page.all("img") if image.get("src")]
    assert pictures == ["pictures/cat.jpg", "maps/a.png", "maps/b.png", "pictures/dog.jpg", "maps/dog.jpg"]
    assert [link["href"] for link in page.all("a") if link.get("class") == "picture"] == pictures
    assert len(page.all("article")) == 2
    for text in ("Shapes", "2 images", "2 methods", "cat.jpg", "tiger cat", "0.83", "Saliency"):
        assert text in page.text


def test_every_picture_has_alternative_text(tmp_path):
    page = written(tmp_path, [entry(maps=[GalleryMap("Grad-CAM", "tabby", "a"), GalleryMap("VisualBackProp", "", "b")])])
    shown = [image for image in page.all("img") if image.get("src")]
    assert [image["alt"] for image in shown] == ["cat.jpg", "Grad-CAM for tabby, cat.jpg", "VisualBackProp, cat.jpg"]
    assert all(image["loading"] == "lazy" for image in shown)


@pytest.mark.parametrize("name", UNUSUAL_NAMES)
def test_unusual_file_names_are_linked_and_shown_unchanged(tmp_path, name):
    page = written(tmp_path, [entry(name)], failures=[GalleryFailure(name, name)])
    for image in (one for one in page.all("img") if one.get("src")):
        address = urlsplit(image["src"])
        assert not (address.scheme or address.netloc or address.query or address.fragment)
        assert unquote(address.path) in (f"pictures/{name}", f"maps/{name}")
    assert page.text.count(name) >= 3
    assert len(page.all("script")) == 1  # the page's own


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names there are Unicode")
def test_a_file_name_that_is_not_unicode_is_linked(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    page = written(tmp_path, [entry(name)])
    assert page.all("img")[0]["src"] == "pictures/caf%E9.jpg"
    assert "caf?.jpg" in page.text


def test_all_text_is_escaped(tmp_path):
    odd = "<b>&\"'$x"
    maps = [GalleryMap(odd, odd, "a"), GalleryMap("Grad-CAM", odd, "b")]
    entries = [GalleryEntry(odd, "c", [(odd, 0.5)], maps)]
    page = written(tmp_path, entries, title=odd, subtitle=odd, questions={odd: odd})
    assert not page.all("b")
    assert page.text.count(odd) >= 9
    assert odd in [box["value"] for box in page.all("input")]


def test_maps_are_grouped_by_target_with_those_without_one_last(tmp_path):
    maps = [
        GalleryMap("VisualBackProp", "", "0"),
        GalleryMap("Grad-CAM", "cat", "1"),
        GalleryMap("Grad-CAM", "dog", "2"),
        GalleryMap("Layer-CAM", "cat", "3"),
    ]
    page = written(tmp_path, [entry(maps=maps)])
    assert [image["src"] for image in page.all("img") if image.get("src")][1:] == ["1", "3", "2", "0"]
    headings = [page.text.index(f"\n{heading}\n") for heading in ("cat", "dog", "Independent of the class")]
    assert headings == sorted(headings)
    assert "Independent of the class" not in written(tmp_path, [entry(maps=maps[:1])]).text


def test_failures_are_listed_with_their_reasons(tmp_path):
    page = written(tmp_path, [entry()], failures=[GalleryFailure("broken.jpg", "it ends too early")])
    assert "broken.jpg" in page.text and "it ends too early" in page.text
    assert "1 not explained" in page.text
    assert {"id": "failures"} in page.all("section")
    assert "ot explained" not in written(tmp_path, [entry()]).text


def test_the_page_loads_nothing_from_the_network(tmp_path):
    page = write_gallery(tmp_path, [entry()], title="Shapes").read_text("utf-8")
    assert "http" not in page and "//" not in page.replace(" // ", "")
    assert "@import" not in page and "url(" not in page


def test_the_page_has_light_and_dark_colors_and_fits_a_phone(tmp_path):
    page = written(tmp_path, [entry()])
    metas = {meta.get("name"): meta.get("content") for meta in page.all("meta")}
    assert metas["viewport"].startswith("width=device-width") and metas["color-scheme"] == "light dark"
    assert page.all("html") == [{"lang": "en"}]


def test_several_methods_can_be_filtered(tmp_path):
    maps = [GalleryMap("Grad-CAM", "cat", "1"), GalleryMap("Layer-CAM", "cat", "2")]
    assert [box["value"] for box in written(tmp_path, [entry(maps=maps)]).all("input")] == ["Grad-CAM", "Layer-CAM"]
    assert not written(tmp_path, [entry()]).all("input")


def test_the_legend_shows_the_styles_in_use(tmp_path):
    maps = [GalleryMap("a", "", "1", "grey"), GalleryMap("b", "", "2", "signed")]
    text = written(tmp_path, [entry(maps=maps)]).text
    assert "dark is zero" in text and "gray is zero" in text and "largest" not in text


def test_the_page_shows_the_questions_of_its_methods(tmp_path):
    text = written(tmp_path, [entry()], questions={"Grad-CAM": "Which regions?", "Layer-CAM": "Which cells?"}).text
    assert "Which regions?" in text and "Which cells?" not in text


def test_sizes_reserve_space_for_pictures_that_load_late(tmp_path):
    shown = [one for one in written(tmp_path, [entry(size=(30, 40))]).all("img") if one.get("src")]
    assert all((image["height"], image["width"]) == ("30", "40") for image in shown)
    assert "width" not in written(tmp_path, [entry()]).all("img")[0]


@pytest.mark.parametrize(("scores", "share"), [((0.25, 0.1), "0.250"), ((7.5, -2.0), "0.000"), ((float("nan"),), "0.000")])
def test_only_probabilities_have_bars(tmp_path, scores, share):
    predictions = [(f"class {index}", score) for index, score in enumerate(scores)]
    page = written(tmp_path, [GalleryEntry("a", "a", predictions)])
    assert page.all("li")[0]["style"] == f"--share: {share}"
    assert f"{scores[0]:.2f}" in page.text


def test_maps_are_captioned_with_scores_and_strengths(tmp_path):
    maps = [GalleryMap("Grad-CAM", "cat", "1", score=0.001, strength="peak 3% of <dog>")]
    page = written(tmp_path, [entry(maps=maps, score_kind="probability")])
    assert "\nprobability 0.00\n" in page.text and "\npeak 3% of <dog>\n" in page.text
    captions = [link["data-caption"] for link in page.all("a") if link.get("class") == "picture"]
    assert captions[1] == "Grad-CAM for cat · cat.jpg · probability 0.00 · peak 3% of <dog>"
    assert "Neither number is a confidence" in page.text
    assert "Neither number is a confidence" not in written(tmp_path, [entry()]).text


def test_the_page_switches_between_two_scales(tmp_path):
    maps = [GalleryMap("Grad-CAM", "cat", "1", other_path="s c/1"), GalleryMap("Grad-CAM", "dog", "2", other_path="s c/2")]
    page = written(tmp_path, [entry(maps=maps)], scale="image")
    assert [link["data-other"] for link in page.all("a") if "data-other" in link] == ["s%20c/1", "s%20c/2"]
    assert [(box["value"], "checked" in box) for box in page.all("input")] == [("map", False), ("image", True)]
    shown = [span["data-scale"] for span in page.all("span") if "data-scale" in span and "hidden" not in span]
    assert shown == ["image"]


def test_an_empty_gallery_is_a_page(tmp_path):
    assert "0 images" in written(tmp_path / "new" / "folder", []).text


def test_a_new_page_replaces_the_old_one(tmp_path):
    written(tmp_path, [entry("first.jpg")])
    page = written(tmp_path, [entry("second.jpg")], subtitle="block5")
    assert "second.jpg" in page.text and "block5" in page.text and "first.jpg" not in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_top_class_is_marked_right_or_wrong(tmp_path):
    entries = [entry("a", truth="tabby", is_right=True), entry("b", truth="<dog>", is_right=False), entry("c")]
    page = written(tmp_path, entries)
    assert [mark["class"] for mark in page.all("p") if "truth" in (mark.get("class") or "")] == ["truth right", "truth wrong"]
    assert "Right: tabby" in page.text and "Wrong. True class: <dog>" in page.text
    assert "top class correct for 1 of 2 images with a known class" in page.text
    assert [card.get("data-truth") for card in page.all("article")] == ["right", "wrong", None]
    assert "True class" not in written(tmp_path, [entry()]).text


def test_cards_beyond_the_first_page_wait_as_text(tmp_path):
    count = gallery.PER_PAGE + 2
    page = written(tmp_path, [entry(f"{number} $x.jpg") for number in range(count)])
    assert len(page.all("article")) == gallery.PER_PAGE
    waiting = [one for one in page.all("script") if one.get("class") == "card"]
    assert [one["data-name"] for one in waiting] == [f"{number} $x.jpg" for number in range(gallery.PER_PAGE, count)]


def test_images_can_be_searched_sorted_and_paged(tmp_path, open_page, monkeypatch):
    monkeypatch.setattr(gallery, "PER_PAGE", 2)
    scores = {"img10": (0.5, True), "img9": (0.9, False), "Zoë": (0.2, False), "a_b": (0.7, None), "nan": (float("nan"), None)}
    entries = [
        GalleryEntry(name, name, [("cat", score)], truth="" if right is None else "dog", is_right=right)
        for name, (score, right) in scores.items()
    ]
    address = write_gallery(tmp_path, entries, title="Shapes").as_uri()
    page = open_page(address, NARROW)

    def shown():
        return page.locator("article h2").all_text_contents()

    def all_pages(order):
        page.select_option("#order", order)
        found = shown()
        for _ in range(2):
            page.locator(".pager").first.get_by_text("Next").click()
            found += shown()
        return found

    assert shown() == ["img10", "img9"] and page.inner_text("#count") == "1–2 of 5 images"
    assert all_pages("name") == ["a_b", "img9", "img10", "nan", "Zoë"]
    assert all_pages("high") == ["img9", "a_b", "img10", "Zoë", "nan"]
    assert all_pages("low") == ["Zoë", "img10", "a_b", "img9", "nan"]
    assert all_pages("wrong") == ["img9", "Zoë", "img10", "a_b", "nan"]
    page.locator(".pager").last.get_by_text("Previous").click()
    assert shown() == ["img10", "a_b"] and page.evaluate("document.activeElement.localName") == "main"
    page.fill("#search", "zoe DOG")
    assert shown() == ["Zoë"] and page.inner_text("#count") == "1 found among 5 images"
    page.fill("#search", "nothing")
    assert shown() == [] and page.inner_text("#count") == "No image matches."
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_an_interrupt_keeps_the_old_page(tmp_path, monkeypatch):
    old = write_gallery(tmp_path, [entry()], title="Shapes").read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery.Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_gallery(tmp_path, [], title="New")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]


def test_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file.*index\.html cannot be written \(.*\)\. Pass a writable folder\."):
        write_gallery(tmp_path / "file", [], title="Shapes")
