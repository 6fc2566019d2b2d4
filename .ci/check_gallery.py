"""Checks that a gallery is complete: every sample, every method, every picture there and readable.

python .ci/check_gallery.py FOLDER
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from tfviz import METHODS
from tfviz.images import find_images, read_image
from tfviz.shapes import SAMPLES_DIR

# `--method all` leaves out what needs images to compare with, and what takes hours.
LEFT_OUT = {"expected_gradients", "rise"}


class Links(HTMLParser):
    """Collects the local files that a page shows or leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href") and value and not value.startswith(("#", "data:")):
                self.paths.add(unquote(value))


def main(folder: Path) -> int:
    links = Links()
    links.feed((folder / "index.html").read_text(encoding="utf-8"))
    for path in sorted(links.paths):
        read_image(folder / path)  # raises where a picture is missing or damaged
    samples = find_images([SAMPLES_DIR])
    missing = [
        f"{sample.relative}: {key}"
        for sample in samples
        for key, method in METHODS.items()
        if key not in LEFT_OUT and not method.needs_attention
        if not any(sample.path.stem in path and Path(path).stem.split("-")[0] == key for path in links.paths)
    ]
    print(f"{len(samples)} samples, {len(METHODS)} methods, {len(links.paths)} pictures, {len(missing)} missing")
    for line in missing:
        print("missing:", line)
    return 1 if missing or not samples else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
