"""Generate the HTML card for one gallery image, with its predictions beside its maps."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import quote

from tfviz.render.gallery_entry import GalleryEntry, GalleryMap

NO_TARGET = "Independent of the class"
RIGHT, WRONG = "✓", "✗"
_WIDE = 2.5  # Pictures with a larger width-to-height ratio, such as signals, get more room.


def card(entry: GalleryEntry) -> str:
    """Return the <article> that shows an image with its predictions and maps."""
    groups: dict[str, list[GalleryMap]] = {}
    # Maps without a target come last.
    for one in sorted(entry.maps, key=lambda one: not one.target):
        groups.setdefault(one.target or (NO_TARGET if groups else ""), []).append(one)
    picture = _link(entry.path, entry.name, entry.name, entry.size)
    return (
        f'<article{_search_data(entry)}><div class="source">{picture}<h2>{html.escape(entry.name)}</h2>{_truth(entry)}'
        f"{_predictions(entry.predictions)}"
        f'</div><div class="targets">{"".join(_target(*group, entry) for group in groups.items())}</div></article>'
    )


def waiting_card(entry: GalleryEntry) -> str:
    """Return a card as text inside a <script>, so that browsers don't parse it or lay it out."""
    return f'<script type="text/plain" class="card"{_search_data(entry)}>{card(entry)}</script>'


def _search_data(entry: GalleryEntry) -> str:
    """Return the HTML attributes that the page searches and sorts by."""
    top = entry.predictions[0] if entry.predictions else None
    words = " ".join(
        dict.fromkeys(filter(None, (entry.name, entry.truth, top and top[0], *(one.target for one in entry.maps))))
    )
    data = {"name": entry.name, "words": words}
    if top is not None and math.isfinite(top[1]):
        data["score"] = f"{top[1]:.6g}"
    if entry.is_right is not None:
        data["truth"] = "right" if entry.is_right else "wrong"
    return "".join(f' data-{key}="{html.escape(value)}"' for key, value in data.items())


def _truth(entry: GalleryEntry) -> str:
    if not entry.truth:
        return ""
    name = html.escape(entry.truth)
    if entry.is_right is None:
        return f'<p class="truth">True class: {name}</p>'
    word, mark, words = ("right", RIGHT, "Right:") if entry.is_right else ("wrong", WRONG, "Wrong. True class:")
    return f'<p class="truth {word}"><b aria-hidden="true">{mark}</b> {words} {name}</p>'


def _predictions(predictions: Sequence[tuple[str, float]]) -> str:
    # Scores have background bars only if all of them are in [0, 1].
    are_shares = all(0 <= score <= 1 for _, score in predictions)
    rows = "".join(
        f'<li style="--share: {score if are_shares else 0:.3f}"><span>{html.escape(label)}</span><span>{score:.2f}</span></li>'
        for label, score in predictions
    )
    return optional('<ol class="predictions">{}</ol>', rows)


def _target(target: str, maps: Sequence[GalleryMap], entry: GalleryEntry) -> str:
    heading = optional("<h3>{}</h3>", html.escape(target)) + optional("<p>{}</p>", _score_of(maps[0], entry))
    heading = optional('<div class="target">{}</div>', heading)
    is_wide = entry.size is not None and entry.size[1] > _WIDE * entry.size[0]
    return (
        f'<section>{heading}<div class="maps{" wide" * is_wide}">{"".join(_figure(one, entry) for one in maps)}</div></section>'
    )


def _score_of(one: GalleryMap, entry: GalleryEntry) -> str:
    return "" if one.score is None else f"{html.escape(entry.score_kind)} {one.score:.2f}"


def _figure(one: GalleryMap, entry: GalleryEntry) -> str:
    about = f"{one.method}{f' for {one.target}' if one.target else ''}"
    caption = " · ".join(filter(None, (about, entry.name, _score_of(one, entry), one.strength)))
    link = _link(one.path, f"{about}, {entry.name}", caption, entry.size, one.other_path)
    method, strength = html.escape(one.method), optional("<small>{}</small>", html.escape(one.strength))
    return f'<figure data-method="{method}">{link}<figcaption>{method}{strength}</figcaption></figure>'


def _link(
    path: str | PurePath, alt: str, caption: str, size: tuple[int, int] | None, other: str | PurePath | None = None
) -> str:
    """Return a thumbnail that links to its file. `other` shows the same map on another scale."""
    address = html.escape(_address(path))
    second = f' data-other="{html.escape(_address(other))}"' if other else ""
    shape = f' width="{size[1]}" height="{size[0]}"' if size else ""
    return (
        f'<a class="picture" href="{address}" data-caption="{html.escape(caption)}"{second}>'
        f'<img src="{address}" alt="{html.escape(alt)}" loading="lazy" decoding="async"{shape}></a>'
    )


def _address(path: str | PurePath) -> str:
    """Convert a relative path to a URL, quoting bytes because a path need not be valid Unicode."""
    return quote(os.fsencode(PurePath(path).as_posix()))


def optional(around: str, content: str) -> str:
    """Insert content into a template such as "<p>{}</p>", or return "" if the content is empty."""
    return around.format(content) if content else ""
