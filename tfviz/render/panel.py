"""Show images and maps in a notebook or on a page, as self-contained HTML with tabs and a slider.

The HTML needs no other files, no server and no widgets. Without JavaScript, it is a plain table of
all images and maps. Each map is a transparent picture over the image, so the slider changes only
one filter. A map pixel has opacity exp(−p), and the filter raises this opacity to the power
−log(alpha). The result is alpha**p (see `overlays`).
"""

from __future__ import annotations

import html
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap

from tfviz.atomic_files import write_atomically
from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.canvas import Canvas, canvas_of
from tfviz.render.colors import gray_map, ramp
from tfviz.render.data_kinds import kind_of
from tfviz.render.data_urls import encoded_bar, encoded_map, encoded_picture
from tfviz.render.grid import Attributions, Column, Scores, captions_of, columns_of, own_style, targets_of
from tfviz.render.overlays import Look, Underlay
from tfviz.render.pictures import Arrays, is_single, maps_of
from tfviz.render.titles import title_of

EVERYTHING = "All"  # the tab that shows all methods or targets
TEMPLATE = Path(__file__).with_name("panel.html")
MOST_IMAGES = 64
# These limits keep eight images with four methods below 1 MB. Base64 encoding adds a third.
IMAGE_BYTES, UNDERLAY_BYTES = 12_000, 8_000
MAP_BYTES, LEAST_MAP_BYTES, ALL_MAP_BYTES = 16_000, 4_000, 32 * 16_000


@dataclass(frozen=True)
class Panel:
    """Images shown beside their maps. A notebook displays a panel as a cell's result.

    Attributes:
        canvas: the pictures to draw maps over.
        columns: one column per method and target.
        values: for each column, one raw map per picture.
        captions: the text below each image, or "".
        classes: target -> each image's class name, such as {"top1": ["tabby", "goldfish"]}.
        look: how to blend maps with images.
        scale: the color scale (see `plot`).
        heading: the text above the images, or "". With a heading, the pictures are small.
    """

    canvas: Canvas
    columns: Sequence[Column]
    values: Sequence[Sequence[npt.NDArray[np.float64]]]
    captions: Sequence[str]
    classes: Mapping[str, Sequence[str]]
    look: Look
    scale: str
    heading: str = ""

    def save(self, path: str | Path) -> Path:
        """Write the panel as a standalone page.

        Args:
            path: the file, such as "maps.html". An existing file is replaced.

        Returns:
            The path.

        Raises:
            OutputError: the file cannot be written.
        """
        return write_atomically(
            path, _PAGE.format(title=html.escape(", ".join(map(title_of, self._methods))), panel=self._repr_html_())
        )

    def _repr_html_(self) -> str:
        """Return the HTML. Each call uses new ids, so that a page can show the same panel twice."""
        name = f"tfviz-{secrets.token_hex(6)}"
        text = Template(TEMPLATE.read_text("utf-8")).substitute(
            id=name,
            heading=f"<p><b>{html.escape(self.heading)}</b></p>" if self.heading else "",
            pictures="\n".join(self._background(name, index) for index in range(len(self.canvas.pictures))),
            blend="multiply" if self.canvas.has_lines else "normal",
            exponent=f"{_exponent(self.look.alpha):.4f}",
            alpha=round(100 * self.look.alpha),
            targets=_tabs("target", "Target", self._targets, first=len(self._methods) > 1),
            methods=_tabs("method", "Method", {key: title_of(key) for key in self._methods}),
            slider="" if any(column.style != "grey" for column in self.columns) else " hidden",
            bars="\n".join(self._bar(name, style) for style in self._styles),
            middle="#ffffff" if self.canvas.has_lines else "#808080",
            layout="wide" if self.canvas.is_wide else "compact" if self.heading else "side",
            columns=1 + (len(self._methods) if len(self._methods) > 1 else len(self.columns)),
            rows="\n".join(self._row(index) for index in range(len(self.canvas.pictures))),
            legend="".join(self._legend(style) for style in self._styles),
        )
        return text.encode("utf-8", "replace").decode("utf-8")  # Notebooks reject lone surrogates.

    def __repr__(self) -> str:
        count, methods = len(self.canvas.pictures), [title_of(key) for key in self._methods]
        targets = f"; {', '.join(self._targets)}" if self._targets else ""
        return f"Panel({count} {self.canvas.noun}{'' if count == 1 else 's'}; {', '.join(methods)}{targets})"

    @property
    def _methods(self) -> list[str]:
        return list(dict.fromkeys(column.method for column in self.columns))

    @property
    def _enlargement(self) -> int:
        """The factor by which to raise the byte limits, which is larger for page-wide pictures."""
        return 3 if self.canvas.is_wide else 1

    @property
    def _styles(self) -> list[str]:
        return list(dict.fromkeys(column.style for column in self.columns))

    @property
    def _targets(self) -> dict[str, str]:
        """The target names, as a dict that is empty if there are fewer than two."""
        names = {column.target: column.target for column in self.columns if column.target}
        return names if len(names) > 1 else {}

    def _background(self, name: str, index: int) -> str:
        picture = self.canvas.pictures[index]
        below = encoded_picture(self.look.below(picture), UNDERLAY_BYTES * self._enlargement)
        height, width = picture.shape[:2]
        return f"#{name} .p{index} {{ background-image: url({below}); aspect-ratio: {width} / {height}; }}"

    def _bar(self, name: str, style: str) -> str:
        blend = "; filter: none" if style == "grey" else ""
        return f"#{name} .bar.{style} i::before {{ background-image: url({encoded_bar(self._colors(style))}){blend}; }}"

    def _row(self, index: int) -> str:
        picture, caption = self.canvas.pictures[index], html.escape(self.captions[index])
        alt = f"{self._name(index)}: {caption}" if caption else f"{self._name(index)} without a map"
        cells = "\n".join(self._cell(number, index) for number in range(len(self.columns)))
        rows = max(len(self._targets), 1) if len(self._methods) > 1 else 1
        return (
            f'<tr role="row"><th role="rowheader" scope="row" style="grid-row: 1 / span {rows}">'
            f'<img src="{encoded_picture(picture, IMAGE_BYTES * self._enlargement)}" alt="{alt}">'
            f'<span class="words">{caption or self._name(index)}</span></th>\n{cells}</tr>'
        )

    def _cell(self, number: int, index: int) -> str:
        """Return the table cell that shows a map over an image, with its color bar and texts."""
        column = self.columns[number]
        explained = self._explained(column, index)
        about = f"{title_of(column.method)}{f' for {explained}' if explained else ''}, {self._name(index).lower()}"
        picture = f'<img src="{self._map(number, index)}" alt="{html.escape(about)}">'
        if column.style != "grey":
            picture = f'<div class="p{index}">{picture}</div>'
        low, high = ("0" if column.style == "heatmap" else f"{-column.limits[index]:.3g}"), f"{column.limits[index]:.3g}"
        lines = [explained, *column.notes[index].split("\n")]
        lines += ["one map for all targets"] if self._targets and not column.target else []
        words = "".join(f"<span>{html.escape(line)}</span>" for line in lines if line)
        row, place = self._place(column)
        return (
            f'<td role="cell" data-method="{1 + self._methods.index(column.method)}" '
            f'data-target="{self._target_number(column)}" style="grid-area: {row} / {place}">'
            f'<div class="map {column.style}">{picture}</div>'
            f'<div class="bar {column.style}"><i></i><span>{low}</span><span>{high}</span></div>'
            f'<div class="words"><b>{html.escape(title_of(column.method))}</b>{words}</div></td>'
        )

    def _map(self, number: int, index: int) -> str:
        column, picture = self.columns[number], self.canvas.pictures[index]
        most = min(MAP_BYTES, max(LEAST_MAP_BYTES, ALL_MAP_BYTES // (len(self.columns) * len(self.canvas.pictures))))
        values, limit = self.canvas.placed(self.values[number][index], index), column.limits[index]
        height, width = picture.shape[:2]
        if column.style == "grey":
            return encoded_picture(self.canvas.finished(gray_map(values, height, width, limit), index), most)
        covered = self.canvas.covered(index)
        covered = np.ones((height, width), np.bool_) if covered is None else covered
        return encoded_map(values, column.style, self._colors(column.style), limit, covered, most)

    def _colors(self, style: str) -> npt.NDArray[np.uint8]:
        """Return a style's 256 colors as RGBA, with opacity exp(−p) (see the module docstring)."""
        opacity = np.ones(256) if style == "grey" else np.exp(-self.look.powers(style))
        return np.concatenate(
            [ramp(style, self.canvas.color_map(style, self.look.cmap)), np.rint(255 * opacity[:, None]).astype(np.uint8)],
            axis=1,
        )

    def _explained(self, column: Column, index: int) -> str:
        """Return the explained class, such as "top2: tabby", or "" if it is unknown."""
        if not column.target and self._targets:
            return ""
        name = self.classes.get(column.target, [""] * len(self.captions))[index]
        return ": ".join(filter(None, (column.target, name)))

    def _name(self, index: int) -> str:
        return f"{self.canvas.noun.capitalize()} {index}"

    def _target_number(self, column: Column) -> str:
        return str(1 + list(self._targets).index(column.target)) if column.target and self._targets else ""

    def _place(self, column: Column) -> tuple[int, int]:
        """Return the grid row and column of a map in the view that shows all maps."""
        if len(self._methods) == 1:
            return 1, 2 + list(self.columns).index(column)
        return int(self._target_number(column) or 1), 2 + self._methods.index(column.method)

    def _legend(self, style: str) -> str:
        meaning = self.canvas.meaning(style, self.scale)
        return f'<span class="bar {style}"><i></i>{html.escape(meaning)}</span>'


def show(
    images: Arrays,
    attributions: Attributions,
    *,
    kind: str | None = None,
    captions: Sequence[str | None] | None = None,
    scores: Scores | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    styles: Mapping[str, str] | None = None,
    alpha: float = 0.5,
    underlay: Underlay = "gray",
    scale: str = "map",
    cmap: str | Colormap | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> Panel:
    """Show images beside their maps in a notebook, with tabs for methods and classes.

    A slider sets the map opacity. The result is self-contained HTML of at most 1 MB for eight
    images and four methods. For papers and PDF files, use `plot`.

    Args:
        images: as for `plot`, at most 64.
        attributions: as for `plot`.
        kind: as for `plot`.
        captions: the text to write below each image, such as "tabby cat 0.83".
        scores: as for `plot`.
        classes: target -> each image's class name, such as {"top1": ["tabby", "goldfish"]}.
        styles: as for `plot`.
        alpha: the slider's initial value, as for `plot`. For signals, the slider starts at 1.
        underlay: as for `plot`.
        scale: as for `plot`.
        cmap: as for `plot`.
        preprocessing: as for `plot`.

    Returns:
        The panel. A notebook displays it as a cell's result, and `save` writes it as a page.

    Raises:
        ImageError: as for `plot`, or `images` has more than 64 images.
        OptionError: as for `plot`.

    Example:

        >>> images, maps = np.zeros((2, 8, 8, 3), "uint8"), np.ones((2, 4, 4))
        >>> tfviz.show(images, {"grad_cam": maps})
        Panel(2 images; Grad-CAM)
    """
    kind = kind_of(images, attributions, kind)
    canvas = canvas_of(images, kind, preprocessing)
    values = {
        method: {target: _rows(one, images, kind) for target, one in given.items()}
        for method, given in targets_of(attributions).items()
    }
    look = Look(alpha, underlay, cmap)
    return panel_on(canvas, values, captions=captions, scores=scores, classes=classes, styles=styles, look=look, scale=scale)


def panel_on(
    canvas: Canvas,
    values: Mapping[str, Mapping[str, Sequence[npt.NDArray[np.float64]]]],
    *,
    captions: Sequence[str | None] | None,
    scores: Scores | None,
    classes: Mapping[str, Sequence[str]] | None,
    styles: Mapping[str, str] | None,
    look: Look,
    scale: str,
    heading: str = "",
) -> Panel:
    """Build a panel of maps drawn over the pictures of a canvas.

    Args:
        canvas: the canvas.
        values: method -> target -> its raw maps, one per picture.
        captions: see `show`.
        scores: see `show`.
        classes: see `show`.
        styles: see `show`.
        look: how to blend maps with images.
        scale: see `show`.
        heading: the text above the images.

    Returns:
        The panel.

    Raises:
        ImageError: see `show`.
        OptionError: see `show`.
    """
    count = len(canvas.pictures)
    if count > MOST_IMAGES:
        raise ImageError(
            f"A panel can show at most {MOST_IMAGES} {canvas.noun}s. Received: {count} {canvas.noun}s. Pass fewer "
            f"{canvas.noun}s, such as images[:16]."
        )
    maps = {method: {target: canvas.maps(one) for target, one in given.items()} for method, given in values.items()}
    given = {**{method: own_style(method.replace("-", "_")) for method in maps}, **dict(styles or {})}
    drawn = {method: canvas.style(style) for method, style in given.items() if style}
    columns = columns_of(maps, count, scores=scores, styles=drawn, scale=scale)
    flat = [values[column.method][column.target] for column in columns]
    names = _checked_classes(classes, columns, count)
    return Panel(canvas, columns, flat, captions_of(captions, count), names, canvas.look(look), scale, heading)


def _rows(attribution: Arrays, images: Arrays, kind: str) -> list[npt.NDArray[np.float64]]:
    """Return a list of maps, one per image. A single image's map may lack the batch axis."""
    if kind == "image" and is_single(images):
        return maps_of(attribution, count=1, single=True)
    given: Any = attribution
    if kind == "signal" and not isinstance(images, list | tuple) and np.ndim(cast(npt.ArrayLike, images)) == 2:
        given = np.atleast_2d(np.asarray(given))
    return [np.asarray(one, np.float64) for one in given]


def _checked_classes(
    classes: Mapping[str, Sequence[str]] | None, columns: Sequence[Column], count: int
) -> Mapping[str, Sequence[str]]:
    known = list(dict.fromkeys(column.target for column in columns))
    for target, names in (classes or {}).items():
        if target not in known:
            raise OptionError(f"`classes` has an entry for {target!r}, which has no maps. {near_matches(target, known)}")
        if len(names) != count:
            raise ImageError(
                f"`classes` must have one name per image. Received: {len(names)} names for {target!r} and {count} images."
            )
    return classes or {}


def _tabs(name: str, legend: str, names: Mapping[str, str], first: bool = False) -> str:
    """Return radio buttons that look like tabs, with "All" or the first name selected."""
    if len(names) < 2:
        return ""
    texts = [EVERYTHING, *names.values()]
    boxes = "".join(
        f'<label><input type="radio" name="{name}" value="{number or ""}"{" checked" * (number == int(first))}>'
        f"<span>{html.escape(text)}</span></label>"
        for number, text in enumerate(texts)
    )
    return f"<fieldset><legend>{legend}</legend>{boxes}</fieldset>"


def _exponent(alpha: float) -> float:
    return max(-math.log(alpha), 0.001) if alpha > 0 else 1000.0


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
</head>
<body>
<main>
<h1 style="font: 600 1.25rem system-ui, sans-serif">{title}</h1>
{panel}
</main>
</body>
</html>
"""
