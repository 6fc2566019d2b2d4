"""Write an HTML page that shows each image next to its maps and works without a server."""

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
from tfviz.render.colors import STYLES
from tfviz.render.overlays import Look
from tfviz.render.strength import SCALES, meaning_of

PAGE = "index.html"
NO_TARGET = "Independent of the class"
TEMPLATE = Path(__file__).with_name("gallery.html")
STRENGTHS = (
    "Below each map is its peak relative to that of the image's top class or, for excitation backprop, its sum: the share of "
    "the class's evidence that reaches the layer. Neither is a confidence. Nearly empty maps are drawn dimmed."
)


@dataclass(frozen=True)
class GalleryMap:
    """A drawn map.

    Attributes:
        method: the method's name.
        target: the name of the target, or "" if the method takes none.
        path: the file, relative to the gallery's folder.
        style: the style of the map, for the legend.
        score: the score of the target, for the heading.
        strength: the strength of the map, for its caption.
        other_path: the file of the same map on the other scale (see `plot`), if there is one.
    """

    method: str
    target: str
    path: str | PurePath
    style: str = "heatmap"
    score: float | None = None
    strength: str = ""
    other_path: str | PurePath | None = None


@dataclass(frozen=True)
class GalleryEntry:
    """An explained image.

    Attributes:
        name: the name to show.
        path: the image file, relative to the gallery's folder.
        predictions: pairs of a label and its score, best first.
        maps: the maps.
        size: (height, width) of the image and its maps in pixels. It keeps the page from shifting
            while it loads.
        score_kind: the kind of the scores, "probability" or "output".
    """

    name: str
    path: str | PurePath
    predictions: Sequence[tuple[str, float]] = ()
    maps: Sequence[GalleryMap] = field(default_factory=tuple)
    size: tuple[int, int] | None = None
    score_kind: str = "score"


@dataclass(frozen=True)
class GalleryFailure:
    """An image that could not be explained, and the reason."""

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
    scale: str = "map",
    look: Look | None = None,
    page: str = PAGE,
    preface: str = "",
    captions: str = STRENGTHS,
) -> Path:
    """Write a page, replacing an older one. It appears complete or not at all.

    Args:
        folder: the folder of the image files. It is created if necessary.
        entries: the images, in the order of the page.
        title: the heading, such as the model.
        subtitle: the line below the heading, such as the layer.
        failures: images that could not be explained, to list at the end.
        questions: method name -> the question it answers, shown on demand.
        scale: the scale of the maps at `GalleryMap.path`. If maps have an `other_path`, the page
            has a switch between the two scales.
        look: how the maps were blended with the images, for the legend.
        page: the name of the page.
        preface: HTML to show above the images.
        captions: what the strengths below the maps mean.

    Returns:
        The path of the page.

    Raises:
        OutputError: the page cannot be written.
    """
    methods = list(dict.fromkeys(one.method for entry in entries for one in entry.maps))
    styles = {one.style for entry in entries for one in entry.maps}
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        title=html.escape(title),
        subtitle=_optional('<p class="subtitle">{}</p>', html.escape(subtitle)),
        preface=preface,
        summary=_summary(entries, methods, failures),
        filter=_filter(methods),
        scale=_scale_switch(scale) if any(one.other_path for entry in entries for one in entry.maps) else "",
        strengths=_optional('<p class="quiet">{}</p>', html.escape(captions) if _has_strengths(entries) else ""),
        legend="".join(_legend(style, scale, look or Look()) for style in STYLES if style in styles),
        questions=_questions(questions or {}, methods),
        entries="\n".join(_entry(entry) for entry in entries),
        failures=_failures(failures),
    )
    # In a file name that is not valid Unicode, the text shows "?"; the link stays correct.
    return _replace(Path(folder) / page, text.encode("utf-8", errors="replace"))


def _summary(entries: Sequence[GalleryEntry], methods: Sequence[str], failures: Sequence[GalleryFailure]) -> str:
    parts = [_counted(len(entries), "image"), _counted(len(methods), "method")]
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


def _has_strengths(entries: Sequence[GalleryEntry]) -> bool:
    return any(one.strength for entry in entries for one in entry.maps)


def _scale_switch(chosen: str) -> str:
    words = {"map": "Each map on its own", "image": "All classes of an image together, per method"}
    boxes = "".join(
        f'<label><input type="radio" name="scale" value="{scale}"{" checked" * (scale == chosen)}>{words[scale]}</label>'
        for scale in SCALES
    )
    return f'<fieldset id="scale" data-drawn="{chosen}"><legend>Color scale</legend>{boxes}</fieldset>'


def _legend(style: str, drawn: str, look: Look) -> str:
    colors = look.color_bar(style)
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colors[step]) for step in range(0, 256, 17))
    strip = f'<span class="strip" style="background: linear-gradient(to right, {stops})"></span>'
    meanings = "".join(
        f'<span data-scale="{scale}"{" hidden" * (scale != drawn)}>{meaning_of(style, scale)}</span>' for scale in SCALES
    )
    return f"<span>{strip}{meanings}</span>"


def _questions(questions: Mapping[str, str], methods: Sequence[str]) -> str:
    rows = "".join(
        f"<dt>{html.escape(method)}</dt><dd>{html.escape(questions[method])}</dd>" for method in methods if method in questions
    )
    return _optional("<details><summary>The question that each method answers</summary><dl>{}</dl></details>", rows)


def _entry(entry: GalleryEntry) -> str:
    groups: dict[str, list[GalleryMap]] = {}
    # Maps without a target come last.
    for one in sorted(entry.maps, key=lambda one: not one.target):
        groups.setdefault(one.target or (NO_TARGET if groups else ""), []).append(one)
    picture = _link(entry.path, entry.name, entry.name, entry.size)
    return (
        f'<article><div class="source">{picture}<h2>{html.escape(entry.name)}</h2>{_predictions(entry.predictions)}'
        f'</div><div class="targets">{"".join(_target(*group, entry) for group in groups.items())}</div></article>'
    )


def _predictions(predictions: Sequence[tuple[str, float]]) -> str:
    # If so, a bar behind each score shows its size.
    are_shares = all(0 <= score <= 1 for _, score in predictions)
    rows = "".join(
        f'<li style="--share: {score if are_shares else 0:.3f}"><span>{html.escape(label)}</span><span>{score:.2f}</span></li>'
        for label, score in predictions
    )
    return _optional('<ol class="predictions">{}</ol>', rows)


def _target(target: str, maps: Sequence[GalleryMap], entry: GalleryEntry) -> str:
    heading = _optional("<h3>{}</h3>", html.escape(target)) + _optional("<p>{}</p>", _score_of(maps[0], entry))
    heading = _optional('<div class="target">{}</div>', heading)
    return f'<section>{heading}<div class="maps">{"".join(_figure(one, entry) for one in maps)}</div></section>'


def _score_of(one: GalleryMap, entry: GalleryEntry) -> str:
    return "" if one.score is None else f"{html.escape(entry.score_kind)} {one.score:.2f}"


def _figure(one: GalleryMap, entry: GalleryEntry) -> str:
    about = f"{one.method}{f' for {one.target}' if one.target else ''}"
    caption = " · ".join(filter(None, (about, entry.name, _score_of(one, entry), one.strength)))
    link = _link(one.path, f"{about}, {entry.name}", caption, entry.size, one.other_path)
    method, strength = html.escape(one.method), _optional("<small>{}</small>", html.escape(one.strength))
    return f'<figure data-method="{method}">{link}<figcaption>{method}{strength}</figcaption></figure>'


def _link(
    path: str | PurePath, alt: str, caption: str, size: tuple[int, int] | None, other: str | PurePath | None = None
) -> str:
    """Return a thumbnail that links to its file. `other` is the map on the other scale."""
    address = html.escape(_address(path))
    second = f' data-other="{html.escape(_address(other))}"' if other else ""
    shape = f' width="{size[1]}" height="{size[0]}"' if size else ""
    return (
        f'<a class="picture" href="{address}" data-caption="{html.escape(caption)}"{second}>'
        f'<img src="{address}" alt="{html.escape(alt)}" loading="lazy" decoding="async"{shape}></a>'
    )


def _address(path: str | PurePath) -> str:
    """Convert a relative path to a URL. Quoting bytes also works for names that are not Unicode."""
    return quote(os.fsencode(PurePath(path).as_posix()))


def _failures(failures: Sequence[GalleryFailure]) -> str:
    rows = "".join(f"<li><strong>{html.escape(one.name)}</strong>: {html.escape(one.reason)}</li>" for one in failures)
    return _optional('<section id="failures"><h2>Not explained</h2><ul>{}</ul></section>', rows)


def _optional(around: str, content: str) -> str:
    return around.format(content) if content else ""


def _replace(path: Path, content: bytes) -> Path:
    """Write a temporary file and rename it, so that the page is never incomplete."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".gallery-", suffix=".html")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)  # With mkstemp's 0600, a web server could not read the page.
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{shown(path)} cannot be written: {error.strerror}. Choose a writable folder.") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path
