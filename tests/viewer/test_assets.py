"""The files of each page are consistent with each other and with tfviz, and work offline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tfviz
from tfviz.render.colors import MEANINGS, STYLES, ramp
from tfviz.render.signals import signal_colors
from tfviz.viewer.assets import read_assets

PACKAGE = Path(tfviz.__file__).parent
FOLDER, EXPLORER = PACKAGE / "viewer" / "page", PACKAGE / "explorer" / "page"
FILES = [*sorted(FOLDER.iterdir()), *sorted(EXPLORER.iterdir())]


def text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


@pytest.mark.parametrize("folder", [FOLDER, EXPLORER], ids=["viewer", "explorer"])
def test_all_files_are_served_with_distinct_tags(folder: Path) -> None:
    assets = read_assets(folder)
    shared = {"sign_in.html", "style.css", "icon.svg", "elements.js", "redraws.js", "words.js"}
    assert set(assets) == {path.name for path in folder.iterdir()} - {"head.html"} | shared
    assert set(read_assets()) == {path.name for path in FOLDER.iterdir()} - {"head.html"}
    assert len({asset.tag for asset in assets.values()}) == len(assets)
    assert assets["style.css"].content == (FOLDER / "style.css").read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name} {path.name}")
def test_no_file_needs_the_internet_or_violates_the_security_policy(path: Path) -> None:
    content = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.", content)
    assert not re.search(r'\sstyle="|\son[a-z]+="|<style|<script>|\beval\(|innerHTML|javascript:', content)


@pytest.mark.parametrize("folder", [FOLDER, EXPLORER], ids=["viewer", "explorer"])
def test_all_referenced_files_and_ids_exist(folder: Path) -> None:
    assets = {name: asset.content.decode() for name, asset in read_assets(folder).items()}
    page, scripts = assets["index.html"], {name: text for name, text in assets.items() if name.endswith(".js")}
    named = re.findall(r'(?:href|src)="([^"#]+)"', page + assets["sign_in.html"])
    for script in scripts.values():
        named += [name for pair in re.findall(r'from "\./([^"]+)"|import "\./([^"]+)"', script) for name in pair if name]
    assert set(named) <= set(assets)
    assert set(re.findall(r'modulepreload" href="([^"]+)"', page)) == set(scripts)
    assert "<!--" not in page + assets["sign_in.html"] and page.startswith("<!doctype html>")
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    used_ids = {name for text in scripts.values() for name in re.findall(r'(?:byId|getElementById)\("([^"]+)"\)', text)}
    assert used_ids <= ids
    assert len(re.findall(r'\bid="', page)) == len(ids)


@pytest.mark.parametrize("style", [*STYLES, "heatmap.light", "signed.light"])
def test_legends_match_the_colors_and_meanings_of_the_pictures(style: str) -> None:
    (stops,) = re.findall(rf"\.ramp\.{style} {{ background: linear-gradient\(to right, ([^)]+)\)", text("style.css"))
    style, *light = style.split(".")
    colors = [[int(stop[place : place + 2], 16) for place in (1, 3, 5)] for stop in stops.split(", ")]
    steps = [round(255 * number / (len(colors) - 1)) for number in range(len(colors))]
    assert colors == ramp(style, signal_colors(style, None) if light else None)[steps].tolist()
    assert f'{style}: "{MEANINGS[style]}"' in text("words.js")


def test_curves_are_aligned_with_the_slider() -> None:
    edges = re.findall(r"\[(\d+), (\d+)\]", re.search(r"const EDGES = .*", text("curves.js"))[0])
    assert edges == re.findall(r"--gutter: (\d+)px; --edge: (\d+)px;", text("style.css"))
