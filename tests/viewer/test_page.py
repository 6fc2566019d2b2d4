"""The page in a real browser, operated as a user would."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")
playwright = pytest.importorskip("playwright.sync_api")
playwright.expect.set_options(timeout=60_000)

from support.browser import NARROW, WIDE, contrast  # noqa: E402
from support.fake_runs import FakeTrainer, record_of  # noqa: E402
from support.viewer_material import until  # noqa: E402

from tfviz.viewer.server import Viewer  # noqa: E402

ID, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def runs(tmp_path: Path) -> tuple[FakeTrainer, FakeTrainer]:
    """A run in progress, and an older one."""
    older = FakeTrainer(tmp_path / "older", OTHER, total=40, started=1.6e9)
    older.snap(25)
    running = FakeTrainer(tmp_path / "running", ID, total=40)
    running.snap(30)
    return running, older


def at(page: Any) -> tuple[int, int]:
    """Return the slider's position and maximum."""
    slider = page.locator("#slider")
    return int(slider.input_value()), int(slider.get_attribute("max"))


def address(page: Any) -> str:
    return page.evaluate("() => location.href")


def shown(page: Any) -> list[str]:
    """Return the addresses of the maps that the page has loaded."""
    found = page.evaluate(
        "() => [...document.querySelectorAll('.map img')].map((i) => i.complete && i.naturalWidth ? i.currentSrc : '')"
    )
    return [address.partition("/pictures/")[2] for address in found]


def width_of_maps(page: Any) -> float:
    """Return the width of the maps; 0 while the page is being redrawn."""
    return page.evaluate("() => document.querySelector('.map img')?.getBoundingClientRect().width ?? 0")


def until_shown(page: Any, number: int) -> None:
    until(lambda: shown(page) and all(one.startswith(f"{number}/") for one in shown(page)), f"pictures of snapshot {number}")


def test_new_snapshots_appear_automatically(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        playwright.expect(page.locator("#empty")).to_be_visible()
        playwright.expect(page.locator("#empty")).to_contain_text("tfviz.SnapshotCallback(")
        trainer = FakeTrainer(tmp_path / "run", ID)
        playwright.expect(page.locator("#waiting")).to_be_visible()
        done = threading.Event()

        def train() -> None:
            for _ in range(12):
                trainer.snap()
                time.sleep(0.1)
            done.set()

        thread = threading.Thread(target=train)
        thread.start()
        seen = set()
        until(lambda: seen.add(at(page)[1]) or (done.is_set() and at(page) == (11, 11)), "the newest is shown")
        thread.join()
        assert len(seen) >= 3  # one after another, not all at the end
        until_shown(page, 11)
        page.locator("#previous").click()  # looking back ends live mode
        playwright.expect(page.locator("#live")).to_have_attribute("aria-pressed", "false")
        trainer.snap(2)
        until(lambda: at(page) == (10, 13), "the position stays, and the slider grows")
        page.locator("#live").click()
        until_shown(page, 13)


def test_a_damaged_snapshot_is_skipped_and_later_ones_appear(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(5)
    index = trainer.folder / "snapshots.jsonl"
    lines = index.read_bytes().splitlines()
    lines[2] = b"\0" * 30
    index.write_bytes(b"".join(line + b"\n" for line in lines))
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 4)
        assert at(page) == (3, 3)
        playwright.expect(page.locator("#position")).to_have_text("4 of 4")
        page.locator("#previous").click()
        page.locator("#previous").click()
        until_shown(page, 1)
        page.locator("#live").click()
        trainer.snap()
        until_shown(page, 5)
        assert at(page) == (4, 4)


def test_screen_readers_hear_of_new_snapshots_only_occasionally_and_in_live_mode(
    tmp_path: Path, runs: tuple, open_page: Callable[..., Any]
) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
        news = page.locator("#news")
        assert news.get_attribute("data-pause-ms") == "10000"
        news.evaluate("(element) => { element.dataset.pauseMs = 1e6; }")
        runs[0].snap()
        until_shown(page, 30)
        assert news.text_content() == ""
        news.evaluate("(element) => { element.dataset.pauseMs = 0; }")
        runs[0].snap()
        playwright.expect(news).to_have_text(re.compile(r"^Snapshot 32: Epoch 2 · batch 110 · step 310, loss 0\.\d+$"))
        page.locator("#previous").click()
        runs[0].snap()
        until(lambda: at(page)[1] == 32, "the slider grows")
        assert (news.text_content() or "").startswith("Snapshot 32:")


def test_slider_keys_and_curves_move_through_time(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
        slider = page.locator("#slider")
        slider.fill("7")
        until_shown(page, 7)
        assert slider.get_attribute("aria-valuetext") == "snapshot 8 of 30, Epoch 1 · batch 70 · step 70"
        assert page.locator("#moment-main").text_content() == "Epoch 1 · batch 70 · step 70"
        page.locator("body").press("ArrowRight")
        page.locator("body").press("ArrowRight")
        until(lambda: at(page)[0] == 9, "two snapshots later")
        page.locator("body").press("Shift+ArrowLeft")
        until(lambda: at(page)[0] == 0, "ten back, but not before the first")
        page.locator("body").press("End")
        until(lambda: at(page)[0] == 29, "the newest")
        playwright.expect(page.locator("#live")).to_have_attribute("aria-pressed", "true")
        page.locator("body").press("Home")
        until_shown(page, 0)
        assert page.locator("#moment-main").text_content() == "Before training"
        curve = page.locator(".curve > svg").first.bounding_box()
        thumb_left = page.locator("#slider").bounding_box()
        middle = thumb_left["x"] + thumb_left["width"] / 2
        page.mouse.click(middle, curve["y"] + curve["height"] / 2)
        until(lambda: at(page)[0] in (14, 15), "the middle of the curve is the middle of the slider")
        marker = page.locator(".curve .now").first.bounding_box()
        assert abs(marker["x"] - middle) < thumb_left["width"] / 29


def test_playback_stops_at_the_end_or_loops(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(f"{viewer.address}#at=10&speed=10")
        until_shown(page, 10)
        page.locator("body").press("Space")
        playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
        until(lambda: at(page)[0] == 29, "the end")
        playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        page.locator("#loop").click()
        page.locator("#play").click()
        until(lambda: 0 <= at(page)[0] < 20, "it starts over")
        page.locator("#play").click()
        playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        stopped = at(page)
        time.sleep(0.3)
        assert at(page) == stopped
        until_shown(page, stopped[0])


def test_methods_images_and_sizes_can_be_chosen(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(f"{viewer.address}#at=3")
        until_shown(page, 3)
        assert len(shown(page)) == 4  # two methods, two images
        page.get_by_label("Grad-CAM", exact=True).uncheck()
        until(lambda: shown(page) == ["3/visual_backprop/0.png", "3/visual_backprop/1.png"], "one method")
        # the last method stays
        assert page.get_by_label("VisualBackProp", exact=True).is_disabled()
        page.locator("body").press("2")
        until(lambda: len(shown(page)) == 4, "both again")
        page.locator("body").press("m")
        until(lambda: len(shown(page)) == 2, "only the first")
        page.locator("body").press("m")
        until(lambda: shown(page) == ["3/grad_cam/0.png", "3/grad_cam/1.png"], "only the second")
        page.locator("body").press("m")
        page.get_by_role("button", name="Enlarge image 2").click()
        until(lambda: {one[-5] for one in shown(page)} == {"1"}, "the second image alone")
        assert page.locator("#focus-name").text_content() == "Image 2 of 2"
        page.get_by_role("button", name="Next image").click()
        until(lambda: {one[-5] for one in shown(page)} == {"0"}, "the first image")
        page.locator("body").press("Escape")
        until(lambda: len(shown(page)) == 4, "all again")
        before = width_of_maps(page)
        page.get_by_text("Large", exact=True).click()
        until(lambda: width_of_maps(page) > before, "larger pictures")
        page.locator("#image-choice summary").click()
        page.locator("#images input").first.uncheck()
        until(lambda: {one[-5] for one in shown(page)} == {"1"}, "the second image alone")


def test_predictions_and_metrics_match_the_snapshot(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(f"{viewer.address}#at=2")
        first = page.locator(".card").first
        playwright.expect(first.locator(".label")).to_have_text("ring")
        playwright.expect(first.locator(".number")).to_have_text("0.33")
        page.locator("#slider").fill("20")
        playwright.expect(first.locator(".label")).to_have_text("disc")
        playwright.expect(first.locator(".number")).to_have_text("0.60")
        loss = page.locator(".curve").first
        playwright.expect(loss.locator(".metric").first).to_have_text("loss")
        described = loss.locator("svg.strip").get_attribute("aria-label")
        losses = [record_of(number, total=40)["logs"]["loss"] for number in range(1, 30)]
        least, greatest = min(losses), max(losses)
        assert described.startswith(f"loss now {losses[19]:.4g}, lowest {least:.4g}, highest {greatest:.4g}; val_loss now ")
        page.locator("#metric-choice summary").click()
        page.locator("#metrics").get_by_label("loss").uncheck()
        until(lambda: page.locator(".curve").count() == 1, "one curve fewer")
        playwright.expect(page.locator(".curve .metric").first).to_have_text("accuracy")


def test_another_run_can_be_opened_and_two_can_be_compared(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
        assert page.locator("#run-name").text_content() == "running"  # the newest of the two
        page.locator("#run").select_option(label="older")
        until_shown(page, 24)
        page.locator("#compare").select_option(label="running")
        until(lambda: shown(page).count("24/grad_cam/0.png") == 2, "the other run at the same step")
        page.locator("#slider").fill("5")
        until_shown(page, 5)
        assert page.locator(".whose").all_text_contents()[:2] == ["older", "running"]
        playwright.expect(page.locator(".curve").first).to_contain_text("loss · running")


def test_the_name_of_a_compared_run_is_below_its_map(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        for view in ("#", "#focus=0&"):
            page = open_page(f"{viewer.address}/{view}run={ID}&compare={OTHER}".replace("//#", "/#"))
            until(lambda: len(shown(page)) >= 4, "both runs")  # noqa: B023
            for place in range(2):
                badge = page.locator(".whose").nth(place).bounding_box()
                picture = page.locator(".map img").nth(place).bounding_box()
                assert badge["y"] >= picture["y"] + picture["height"] - 1
                assert abs(badge["x"] + badge["width"] / 2 - picture["x"] - picture["width"] / 2) < 2


def test_the_true_class_is_shown_with_whether_it_is_predicted(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID, total=40, true_classes=[0, None])
    trainer.snap(30)
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        first = page.locator(".card").first
        playwright.expect(first.locator(".truth")).to_have_text("True class: disc✓ predicted")
        page.locator("#slider").fill("2")
        playwright.expect(first.locator(".truth")).to_have_text("True class: disc✗ not predicted")
        playwright.expect(page.locator(".truth").nth(1)).to_be_hidden()
        page.get_by_role("button", name="Enlarge image 1").click()
        playwright.expect(page.locator(".truth:visible")).to_be_visible()


def test_re_chosen_images_change_with_their_true_classes(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID, images=1)
    for position, true_class in ((7, 4), (31, 2)):
        trainer.snap_images([position], [true_class])
    trainer.snap()
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        card, source = page.locator(".card").first, page.locator(".picture img")
        playwright.expect(card.locator(".truth")).to_be_hidden()
        playwright.expect(source).to_have_attribute("src", re.compile("/images/0.png"))
        for at, position, name in ((0, 7, "star"), (1, 31, "square")):
            page.locator("#slider").fill(str(at))
            playwright.expect(card.locator(".truth")).to_contain_text(f"True class: {name}")
            playwright.expect(card.locator("figcaption").first).to_have_text(f"Image (no. {position} in the data)")
            playwright.expect(source).to_have_attribute("src", re.compile(f"/pictures/{at}/_images/0.png"))
            until(lambda: source.evaluate("(image) => image.complete && image.naturalWidth === 32"), "the image is loaded")
            playwright.expect(card.locator(".history")).to_be_hidden()


def test_the_explained_class_and_the_strength_of_its_maps_are_shown(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap()
    trainer.snap(explained=[{"class": 4, "score": 0.004}, None], strengths={"grad_cam": ["sum 0.01 of 1 (nearly empty)", ""]})
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        playwright.expect(page.locator(".explained").first).to_have_text("Maps explain: star 0.00")
        playwright.expect(page.locator(".explained").nth(1)).to_be_hidden()
        playwright.expect(page.locator(".card").first).to_contain_text("sum 0.01 of 1 (nearly empty)")
        page.locator("#slider").fill("0")
        playwright.expect(page.locator(".explained").first).to_be_hidden()
        playwright.expect(page.locator(".card").first).not_to_contain_text("nearly empty")


@pytest.mark.parametrize(("is_other", "has_classes"), [(True, True), (False, True), (True, False)])
def test_the_continuation_of_a_run_is_marked(
    tmp_path: Path, open_page: Callable[..., Any], is_other: bool, has_classes: bool
) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID, total=40)
    trainer.snap(10)
    predictions = record_of(9, total=40)["predictions"]
    if has_classes and is_other:
        predictions = [{"class": one["class"], "score": one["score"] / 2} for one in predictions]
    fields = {} if has_classes else {"predictions": [None, None], "has_new_weights": is_other}
    trainer.snap(**{"when": "start", "step": 90, "logs": {}, "predictions": predictions, **fields})
    trainer.snap(10)
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 20)
        strip = page.locator(".curve svg.strip").first
        playwright.expect(strip.locator(".stop")).to_have_count(1)
        playwright.expect(strip).to_contain_text("new weights" if is_other else "continued")
        drawn = strip.locator("path.own:not(.twin)").get_attribute("d")
        assert drawn.count("M") == (2 if is_other else 1)
        page.locator("#slider").fill("10")
        playwright.expect(page.locator("#moment-main")).to_have_text("Continued at step 90")
        more = page.locator("#moment-more")
        expected = playwright.expect(more)
        (expected.to_contain_text if is_other else expected.not_to_contain_text)("different weights")


def test_the_words_at_a_late_continuation_stay_inside_a_narrow_window(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(10)
    trainer.snap(when="start", step=90, logs={})
    trainer.snap()
    with Viewer(tmp_path, port=0) as viewer:
        words = open_page(viewer.address, NARROW).locator(".curve svg.strip text", has_text="new weights")
        playwright.expect(words).to_be_visible()
        box = words.bounding_box()
        assert box["x"] + box["width"] <= NARROW[0] - 10


def until_news(page: Any, run: str, count: int) -> None:
    """Wait until the page has news of so many snapshots, even of a run that is not shown."""
    script = "(run) => import('/runs.js').then((module) => module.runs.get(run).snapshots)"
    until(lambda: page.evaluate(script, run) == count, f"news of {count} snapshots")


def test_a_run_that_becomes_visible_again_is_fetched_again(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    running, older = runs
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(f"{viewer.address}#run={ID}&compare={OTHER}")
        until(lambda: shown(page).count("29/grad_cam/0.png") == 1 == shown(page).count("24/grad_cam/0.png"), "both runs")
        page.locator("#compare").select_option("")
        until(lambda: len(shown(page)) == 4 and "compare" not in address(page), "only the first")
        older.snap(15)
        until_news(page, OTHER, 40)
        page.evaluate("(hash) => { location.hash = hash; }", f"run={ID}&compare={OTHER}")
        until(lambda: shown(page).count("29/grad_cam/0.png") == 2, "by a link, the other run at the same step")
        page.evaluate("(hash) => { location.hash = hash; }", f"run={OTHER}")
        until_shown(page, 39)
        running.snap(5)
        until_news(page, ID, 35)
        page.evaluate("(hash) => { location.hash = hash; }", f"run={ID}")
        until_shown(page, 34)
        page.locator("#run").select_option(OTHER)
        until_shown(page, 39)
        running.snap(5)
        until_news(page, ID, 40)
        page.locator("body").press("Home")
        page.locator("#speed").select_option("1")
        page.locator("#play").click()
        playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
        shutil.rmtree(older.folder)
        playwright.expect(page.locator("#run-name")).to_have_text("running")
        until(lambda: at(page) == (39, 39), "the newest of the remaining run")
        playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        playwright.expect(page.locator("#live")).to_have_attribute("aria-pressed", "true")


def test_an_address_beyond_the_data_shows_what_exists(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(f"{viewer.address}#at=9999&focus=7")
        until_shown(page, 29)
        assert len(shown(page)) == 4
        playwright.expect(page.locator("#focus-bar")).to_be_hidden()
        playwright.expect(page.locator("#image-choice")).to_be_visible()
        page.locator("#previous").click()
        until(lambda: at(page)[0] == 28, "the one before the last")
        page.get_by_role("button", name="Enlarge image 2").click()
        playwright.expect(page.locator("#focus-name")).to_have_text("Image 2 of 2")


def test_the_number_of_visible_curves_is_limited(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(3, logs={f"metric{number}": float(number) for number in range(9)})
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        page.locator("#metric-choice summary").click()
        boxes = page.locator("#metrics input")
        for count in range(2, 6):
            playwright.expect(page.locator("#metrics input:checked")).to_have_count(count)
            playwright.expect(page.locator("#metrics input:disabled")).to_have_count(0)
            boxes.nth(count).check()
        playwright.expect(page.locator(".curve")).to_have_count(6)
        playwright.expect(page.locator("#metrics input:not(:checked):disabled")).to_have_count(3)
        boxes.first.uncheck()
        playwright.expect(page.locator(".curve")).to_have_count(5)
        playwright.expect(page.locator("#metrics input:disabled")).to_have_count(0)


def test_the_address_restores_the_view(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
        page.locator("#run").select_option(label="older")
        page.get_by_label("Grad-CAM", exact=True).uncheck()
        page.locator("#slider").fill("11")
        page.get_by_text("Small", exact=True).click()
        until(lambda: {"at=11", "size=small"} <= set(re.split("[#&]", address(page))), "the address has the view")
        again = open_page(address(page))
        until(lambda: shown(again) == ["11/visual_backprop/0.png", "11/visual_backprop/1.png"], "the same view")
        assert again.locator("#run-name").text_content() == "older"


def test_the_page_survives_a_restart_of_the_viewer(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
    playwright.expect(page.locator("#connection")).to_contain_text("Reconnecting")
    runs[0].snap(3)
    with Viewer(tmp_path, port=viewer.port):
        playwright.expect(page.locator("#connection")).to_contain_text("Live")
        until_shown(page, 32)


def test_the_token_is_requested_once(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0, token="open-sesame") as viewer:
        page = open_page(viewer.address)
        page.get_by_label("Token").fill("open-sesame")
        page.get_by_role("button", name="Open").click()
        until_shown(page, 29)
        assert "sesame" not in address(page)
        page.reload()
        until_shown(page, 29)


def test_the_error_of_a_failed_method_is_shown(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap()
    trainer.snap(methods=["visual_backprop"], errors={"grad_cam": "no such layer"})
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        playwright.expect(page.locator(".card").first).to_contain_text("No map: no such layer")
        page.locator("#slider").fill("0")
        until_shown(page, 0)
        playwright.expect(page.locator(".card").first).not_to_contain_text("No map")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_fits_wide_and_narrow_windows_and_is_legible_in_both_color_schemes(
    tmp_path: Path, runs: tuple, open_page: Callable[..., Any], size: tuple[int, int], scheme: str
) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address, size, color_scheme=scheme)
        until_shown(page, 29)
        for view in ("#", "#focus=1&at=5", f"#compare={OTHER}"):
            page.goto(viewer.address + view)
            time.sleep(0.4)
            wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1], f"{view} needs horizontal scrolling"
        page.goto(viewer.address + "#")
        until_shown(page, 29)
        first = page.locator(".card").first.bounding_box()
        dock = page.locator("#time").bounding_box()
        assert first["y"] < dock["y"] - 150  # pictures show without scrolling
        assert page.locator(".card img").first.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"
        for place in ("#run-about", "#moment-main", ".card h2", "figcaption", ".prediction .label", "svg .tick"):
            assert contrast(page, place) >= 4.5, place
        picture = page.screenshot(path=tmp_path / "page.png")
        assert len(picture) > 10_000


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_long_label_stays_inside_its_card(tmp_path: Path, open_page: Callable[..., Any], size: tuple[int, int]) -> None:
    names = ["African hunting dog, hyena dog, Cape hunting dog, Lycaon pictus"] * 6
    FakeTrainer(tmp_path / "run", ID, labels=names).snap(3)
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address, size)
        until_shown(page, 2)
        card = page.locator(".card").first
        playwright.expect(card.locator(".label")).to_have_text(names[0])
        card_right, *rights = card.evaluate("""(card) => [card, ...card.querySelectorAll("figure, .number")]
            .map((one) => one.getBoundingClientRect().right)""")
        assert len(rights) == 4 and max(rights) < card_right


def test_all_controls_have_accessible_names(tmp_path: Path, runs: tuple, open_page: Callable[..., Any]) -> None:
    with Viewer(tmp_path, port=0) as viewer:
        page = open_page(viewer.address)
        until_shown(page, 29)
        nameless = page.evaluate("""() => {
            const label = (one) => one.labels?.[0]?.textContent.trim() || one.labels?.[0]?.querySelector("img")?.alt;
            const name = (one) => one.ariaLabel || label(one) || one.textContent.trim() || one.hasAttribute("alt");
            const all = [...document.querySelectorAll("button, input, select, summary, img, svg[role=img]")];
            return all.filter((one) => one.checkVisibility() && !name(one)).map((one) => one.outerHTML);
        }""")
        assert nameless == []
        alts = page.locator(".map img").evaluate_all("(all) => all.map((one) => one.alt)")
        assert alts[0] == "VisualBackProp, Image 1, Epoch 2 · batch 90 · step 290"
        assert page.locator("main, header, nav, section[aria-label]").count() >= 4
        page.keyboard.press("Tab")
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none"
        narrow = open_page(viewer.address, NARROW)
        playwright.expect(narrow.get_by_role("combobox", name="Speed")).to_be_visible()
        page.locator("body").press("?")
        playwright.expect(page.get_by_role("dialog")).to_contain_text("previous or next snapshot")
        page.keyboard.press("Escape")


def test_a_run_of_ten_thousand_snapshots_opens_and_stays_responsive(
    tmp_path: Path, open_page: Callable[..., Any], record_property: Callable[[str, object], None]
) -> None:
    trainer = FakeTrainer(tmp_path / "long", ID, total=10_000)
    trainer.snap(9_998, with_pictures=False)
    trainer.snap(2)
    with Viewer(tmp_path, port=0) as viewer:
        start_s = time.monotonic()
        page = open_page(viewer.address)
        until_shown(page, 9_999)
        opened_s = time.monotonic() - start_s
        points = page.locator(".curve path.line").first.get_attribute("d").count("L")
        assert points < 8 * WIDE[0]  # a few per pixel, not one per snapshot and metric
        trainer.snap()
        until(lambda: at(page) == (10_000, 10_000), "the next appears")
        page.locator("#slider").fill("9999")
        until_shown(page, 9_999)
        # for a report: about one second when nothing else runs
        record_property("opened_s", round(opened_s, 2))
