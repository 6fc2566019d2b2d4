"""The images of a gallery as data in its page, so that a later run into the same folder adds to it.

The data is JSON in a <script> element, which browsers ignore. The page and its data are one file,
so they always match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from tfviz.render.gallery_entry import GalleryEntry, GalleryFailure, GalleryMap

_START, _END = '<script type="application/json" id="content">', "</script>"


@dataclass(frozen=True)
class GalleryContent:
    """The images of a page.

    Attributes:
        entries: the explained images.
        failures: the others.
        about: what all maps of a page have in common: the title, subtitle, scale and look.
    """

    entries: Sequence[GalleryEntry] = ()
    failures: Sequence[GalleryFailure] = ()
    about: tuple[str, ...] = ()

    def merged(self, older: GalleryContent) -> GalleryContent:
        """Add the images of an older page about the same, except those that this page has."""
        if older.about != self.about:
            return self
        names = {one.name for one in (*self.entries, *self.failures)}
        paths = {str(one.path) for one in self.entries}
        entries = [one for one in older.entries if one.name not in names and str(one.path) not in paths]
        failures = [one for one in older.failures if one.name not in names]
        return replace(self, entries=[*entries, *self.entries], failures=[*failures, *self.failures])

    def element(self) -> str:
        """Return the element that holds this data."""
        text = json.dumps(asdict(self), default=_path_text, separators=(",", ":"), ensure_ascii=True)
        return f"{_START}{text.replace('<', chr(92) + 'u003c')}{_END}"


def read_content(page: Path) -> GalleryContent:
    """Return the images of a page, or none if there is no page that this version can read."""
    try:
        text = page.read_text("utf-8")
        data = json.loads(re.search(f"{re.escape(_START)}(.*?){_END}", text, re.DOTALL)[1])  # type: ignore[index]
        failures = [GalleryFailure(**one) for one in data["failures"]]
        entries = [_entry(page.parent, one) for one in data["entries"]]
    except (OSError, ValueError, TypeError, KeyError):
        return GalleryContent()
    return GalleryContent([one for one in entries if one is not None], failures, tuple(data["about"]))


def _entry(folder: Path, data: dict[str, Any]) -> GalleryEntry | None:
    """Return an entry, or None if its image has been removed."""
    if not (folder / data["path"]).is_file():
        return None
    maps = [GalleryMap(**one) for one in data.pop("maps")]
    predictions = [(str(label), float(score)) for label, score in data.pop("predictions")]
    size = data.pop("size")
    return GalleryEntry(**data, maps=maps, predictions=predictions, size=size and (int(size[0]), int(size[1])))


def _path_text(path: PurePath) -> str:
    return path.as_posix()
