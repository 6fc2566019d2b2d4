"""Write an HTML page that shows each image next to its maps and works without a server."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from string import Template

from tfviz.atomic_files import write_atomically
from tfviz.render.canvas import Canvas
from tfviz.render.colors import STYLES
from tfviz.render.gallery_card import RIGHT, WRONG, card, optional, waiting_card
from tfviz.render.gallery_entry import GalleryEntry, GalleryFailure
from tfviz.render.overlays import Look
from tfviz.render.strength import SCALES

PAGE = "index.html"
PER_PAGE = 50
STRENGTHS = (
    "The number below each map is its peak relative to the peak of the top class's map. For excitation backprop, the number is "
    "the map's sum, which is the share of the class's evidence that reaches the layer. Neither number is a confidence. Nearly "
    "empty maps are drawn dimmed."
)


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
    canvas: Canvas | None = None,
    page: str = PAGE,
    preface: str = "",
    captions: str = STRENGTHS,
) -> Path:
    """Write a gallery page atomically, replacing any existing one.

    Args:
        folder: the folder that holds the image files. It is created if necessary.
        entries: the images, in page order.
        title: the heading, such as the model's name.
        subtitle: the line below the heading, such as the layer's name.
        failures: images that could not be explained. They are listed at the end.
        questions: method name -> the question that the method answers, shown on demand.
        scale: the scale of the maps at `GalleryMap.path`. If maps have an `other_path`, the page
            has a switch between the two scales.
        look: how the maps were blended with the images, for the legend.
        canvas: a canvas of the type that the maps were drawn on, for the legend and the wording.
            None means an image canvas.
        page: the page's file name.
        preface: HTML to show above the images.
        captions: a text that explains the strengths given in the map captions.

    Returns:
        The page's path.

    Raises:
        OutputError: the page cannot be written.
    """
    canvas = canvas or Canvas([])
    noun = canvas.noun
    methods = list(dict.fromkeys(one.method for entry in entries for one in entry.maps))
    styles = {one.style for entry in entries for one in entry.maps}
    text = Template(_part("html")).substitute(
        style=_part("css"),
        script=_part("js"),
        title=html.escape(title),
        subtitle=optional('<p class="subtitle">{}</p>', html.escape(subtitle)),
        preface=preface,
        summary=_summary(entries, methods, failures, noun),
        filter=_filter(methods),
        scale=_scale_switch(scale, noun) if any(one.other_path for entry in entries for one in entry.maps) else "",
        strengths=optional('<p class="quiet">{}</p>', html.escape(captions) if _has_strengths(entries) else ""),
        legend="".join(_legend(style, scale, look or Look(), canvas) for style in STYLES if style in styles),
        questions=_questions(questions or {}, methods),
        truths=_truths(entries, noun),
        search=_search(entries),
        per_page=PER_PAGE,
        upper_pager=_pager("Pages"),
        noun=noun,
        lower_pager=_pager(f"Pages, below the {noun}s"),
        cards="\n".join(card(entry) for entry in entries[:PER_PAGE]),
        others=_others(entries, noun),
        failures=_failures(failures),
    )
    # Invalid Unicode in a file name is shown as "?". The link stays correct.
    return write_atomically(Path(folder) / page, text.encode("utf-8", errors="replace"))


def _summary(entries: Sequence[GalleryEntry], methods: Sequence[str], failures: Sequence[GalleryFailure], noun: str) -> str:
    parts = [_counted(len(entries), noun), _counted(len(methods), "method")]
    if judged := [entry.is_right for entry in entries if entry.is_right is not None]:
        known = " with a known class" if len(judged) < len(entries) else ""
        parts.append(f"top class correct for {sum(judged):,} of {_counted(len(judged), noun)}{known}")
    if failures:
        parts.append(f'<a href="#failures">{len(failures):,} not explained</a>')
    return " · ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _search(entries: Sequence[GalleryEntry]) -> str:
    """Return the search field and the sort options that apply to these images."""
    if len(entries) < 2:
        return ""
    orders = {"given": "As listed", "name": "File name"}
    if any(entry.predictions for entry in entries):
        orders |= {"high": "Top score, highest first", "low": "Top score, lowest first"}
    if any(entry.is_right is not None for entry in entries):
        orders |= {"wrong": "Wrong first"}
    options = "".join(f'<option value="{value}">{words}</option>' for value, words in orders.items())
    return (
        '<search class="search"><label>Search file names and classes<input type="search" id="search"></label>'
        f'<label>Sort by<select id="order">{options}</select></label><p id="count" role="status"></p></search>'
    )


def _pager(label: str) -> str:
    return (
        f'<nav class="pager" aria-label="{label}" hidden><button type="button">Previous</button>'
        '<label>Page<select></select></label><button type="button">Next</button></nav>'
    )


def _others(entries: Sequence[GalleryEntry], noun: str) -> str:
    """Return the cards that come after the first page."""
    waiting = "\n".join(waiting_card(entry) for entry in entries[PER_PAGE:])
    note = f"<noscript><p>Showing {PER_PAGE} of {len(entries)} {noun}s. Enable JavaScript to see all.</p></noscript>\n{{}}"
    return optional(note, waiting)


def _truths(entries: Sequence[GalleryEntry], noun: str) -> str:
    if all(entry.is_right is None for entry in entries):
        return ""
    return f"<span><b>{RIGHT} {WRONG}</b>compare the top class with the true class (the {noun}'s folder name)</span>"


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


def _scale_switch(chosen: str, noun: str) -> str:
    words = {"map": "One scale per map", "image": f"One scale per {noun} and method"}
    boxes = "".join(
        f'<label><input type="radio" name="scale" value="{scale}"{" checked" * (scale == chosen)}>{words[scale]}</label>'
        for scale in SCALES
    )
    return f'<fieldset id="scale" data-drawn="{chosen}"><legend>Color scale</legend>{boxes}</fieldset>'


def _legend(style: str, drawn: str, look: Look, canvas: Canvas) -> str:
    colors = replace(canvas.look(look), cmap=canvas.color_map(style, look.cmap)).color_bar(style)
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colors[step]) for step in range(0, 256, 17))
    strip = f'<span class="strip" style="background: linear-gradient(to right, {stops})"></span>'
    meanings = "".join(
        f'<span data-scale="{scale}"{" hidden" * (scale != drawn)}>{canvas.meaning(style, scale)}</span>' for scale in SCALES
    )
    return f"<span>{strip}{meanings}</span>"


def _questions(questions: Mapping[str, str], methods: Sequence[str]) -> str:
    rows = "".join(
        f"<dt>{html.escape(method)}</dt><dd>{html.escape(questions[method])}</dd>" for method in methods if method in questions
    )
    return optional("<details><summary>The question each method answers</summary><dl>{}</dl></details>", rows)


def _part(kind: str) -> str:
    return Path(__file__).with_name(f"gallery.{kind}").read_text("utf-8")


def _failures(failures: Sequence[GalleryFailure]) -> str:
    rows = "".join(f"<li><strong>{html.escape(one.name)}</strong>: {html.escape(one.reason)}</li>" for one in failures)
    return optional('<section id="failures"><h2>Not explained</h2><ul>{}</ul></section>', rows)
