"""One HTML page that shows every picture beside its maps. It opens from disk, without a server or a network."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from string import Template
from urllib.parse import quote

from tfviz.errors import OutputError
from tfviz.images import shown
from tfviz.render.colors import MEANINGS, STYLES, ramp

PAGE = "index.html"
WHATEVER_CLASS = "Whatever the class"
TEMPLATE = Path(__file__).with_name("gallery.html")


@dataclass(frozen=True)
class GalleryMap:
    """A map as a picture file.

    method: the method in words. target: what is explained, in words; "" where a method takes no target.
    path: the picture, relative to the gallery's folder. style: how it is colored, for the legend.
    """

    method: str
    target: str
    path: str | PurePath
    style: str = "heatmap"


@dataclass(frozen=True)
class GalleryEntry:
    """A picture that was explained.

    name: as the user knows it. path: the picture file, relative to the gallery's folder. predictions: (label, score),
    best first. size: (height, width) of the picture and its maps in pixels; the page then does not jump as it loads.
    """

    name: str
    path: str | PurePath
    predictions: Sequence[tuple[str, float]] = ()
    maps: Sequence[GalleryMap] = field(default_factory=tuple)
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class GalleryFailure:
    """A picture that could not be explained, and why."""

    name: str
    reason: str


def write_gallery(
    folder: str | PurePath,
    entries: Sequence[GalleryEntry],
    *,
    title: str,
    subtitle: str = "",
    failures: Sequence[GalleryFailure] = (),
    questions: Mapping[str, str] | None = None,
) -> Path:
    """Write `index.html` into `folder`, whole or not at all; an older one is replaced.

    Args:
        folder: where the pictures are; it is made if need be.
        entries: the pictures, in the order of the page.
        title, subtitle: its heading and the line below, such as the model and the layer.
        failures: pictures that could not be explained, listed at the end.
        questions: method in words -> the question it answers, shown on request.

    Returns: the page's path. Raises: OutputError when it cannot be written.
    """
    methods = list(dict.fromkeys(one.method for entry in entries for one in entry.maps))
    styles = {one.style for entry in entries for one in entry.maps}
    page = Template(TEMPLATE.read_text("utf-8")).substitute(
        title=html.escape(title),
        subtitle=_optional('<p class="subtitle">{}</p>', html.escape(subtitle)),
        summary=_summary(entries, methods, failures),
        filter=_filter(methods),
        legend="".join(_legend(style) for style in STYLES if style in styles),
        questions=_questions(questions or {}, methods),
        entries="\n".join(_entry(entry) for entry in entries),
        failures=_failures(failures),
    )
    # A file name that is not valid Unicode still has its picture's address right; as text it shows "?".
    return _replace(Path(folder) / PAGE, page.encode("utf-8", errors="replace"))


def _summary(entries: Sequence[GalleryEntry], methods: Sequence[str], failures: Sequence[GalleryFailure]) -> str:
    parts = [_counted(len(entries), "picture"), _counted(len(methods), "method")]
    if failures:
        parts.append(f'<a href="#failures">{len(failures)} not explained</a>')
    return " · ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _filter(methods: Sequence[str]) -> str:
    if len(methods) < 2:
        return ""
    boxes = "".join(
        f'<label><input type="checkbox" checked value="{html.escape(method)}">{html.escape(method)}</label>'
        for method in methods
    )
    return f'<fieldset id="filter"><legend>Methods</legend>{boxes}</fieldset>'


def _legend(style: str) -> str:
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*ramp(style)[step]) for step in range(0, 256, 17))
    strip = f'<span class="strip" style="background: linear-gradient(to right, {stops})"></span>'
    return f"<span>{strip}{MEANINGS[style]}</span>"


def _questions(questions: Mapping[str, str], methods: Sequence[str]) -> str:
    rows = "".join(
        f"<dt>{html.escape(method)}</dt><dd>{html.escape(questions[method])}</dd>" for method in methods if method in questions
    )
    return _optional("<details><summary>What each method answers</summary><dl>{}</dl></details>", rows)


def _entry(entry: GalleryEntry) -> str:
    groups: dict[str, list[GalleryMap]] = {}
    for one in sorted(entry.maps, key=lambda one: not one.target):  # those without a target last
        groups.setdefault(one.target or (WHATEVER_CLASS if groups else ""), []).append(one)
    picture = _link(entry.path, entry.name, entry.name, entry.size)
    return (
        f'<article><div class="source">{picture}<h2>{html.escape(entry.name)}</h2>{_predictions(entry.predictions)}'
        f'</div><div class="targets">{"".join(_target(*group, entry) for group in groups.items())}</div></article>'
    )


def _predictions(predictions: Sequence[tuple[str, float]]) -> str:
    are_shares = all(0 <= score <= 1 for _, score in predictions)  # then a bar behind each says how large
    rows = "".join(
        f'<li style="--share: {score if are_shares else 0:.3f}"><span>{html.escape(label)}</span><span>{score:.2f}</span></li>'
        for label, score in predictions
    )
    return _optional('<ol class="predictions">{}</ol>', rows)


def _target(target: str, maps: Sequence[GalleryMap], entry: GalleryEntry) -> str:
    heading = _optional("<h3>{}</h3>", html.escape(target))
    return f'<section>{heading}<div class="maps">{"".join(_figure(one, entry) for one in maps)}</div></section>'


def _figure(one: GalleryMap, entry: GalleryEntry) -> str:
    about = f"{one.method}{f' for {one.target}' if one.target else ''}"
    link = _link(one.path, f"{about}, {entry.name}", f"{about} · {entry.name}", entry.size)
    method = html.escape(one.method)
    return f'<figure data-method="{method}">{link}<figcaption>{method}</figcaption></figure>'


def _link(path: str | PurePath, alt: str, caption: str, size: tuple[int, int] | None) -> str:
    """A small picture that leads to the large one."""
    address = html.escape(_address(path))
    shape = f' width="{size[1]}" height="{size[0]}"' if size else ""
    return (
        f'<a class="picture" href="{address}" data-caption="{html.escape(caption)}">'
        f'<img src="{address}" alt="{html.escape(alt)}" loading="lazy" decoding="async"{shape}></a>'
    )


def _address(path: str | PurePath) -> str:
    """A relative path as a URL. The bytes of the name are what the file system knows, whether valid Unicode or not."""
    return quote(os.fsencode(PurePath(path).as_posix()))


def _failures(failures: Sequence[GalleryFailure]) -> str:
    rows = "".join(f"<li><strong>{html.escape(one.name)}</strong>: {html.escape(one.reason)}</li>" for one in failures)
    return _optional('<section id="failures"><h2>Not explained</h2><ul>{}</ul></section>', rows)


def _optional(around: str, content: str) -> str:
    return around.format(content) if content else ""


def _replace(path: Path, content: bytes) -> Path:
    """Write beside the file and then rename, so that whoever reads or interrupts never meets half a page."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".gallery-", suffix=".html")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)  # mkstemp's own 0600 would hide the page from a web server
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {shown(path)}: {error.strerror}. Choose a folder that can be written.") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path
