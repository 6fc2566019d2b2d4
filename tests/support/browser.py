"""A browser whose pages must not report an error, as fixtures. `conftest.py` imports them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDE, NARROW = (1600, 900), (360, 740)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages. Any error in one, including violations of its security policy, fails the test."""
    faults: list[str] = []
    contexts = []

    def opened(address: str, size: tuple[int, int] = WIDE, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": size[0], "height": size[1]}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" and _is_fault(message.text) else None,
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def _is_fault(text: str) -> bool:
    # a restarting viewer is briefly unavailable
    return "Failed to load resource" not in text and "ERR_" not in text


def contrast(page: Any, place: str) -> float:
    """Return the contrast ratio of a text and its background. WCAG requires 4.5."""
    colors = page.locator(place).first.evaluate("""(element) => {
        const style = getComputedStyle(element);
        let behind = element;
        const isClear = (one) => getComputedStyle(one).backgroundColor === "rgba(0, 0, 0, 0)";
        while (behind.parentElement && isClear(behind)) behind = behind.parentElement;
        return [element instanceof SVGElement ? style.fill : style.color, getComputedStyle(behind).backgroundColor];
    }""")
    bright, dark = sorted((_luminance(color) for color in colors), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
