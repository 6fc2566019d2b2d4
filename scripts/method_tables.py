"""Write score tables and figures for docs/faithfulness.md and docs/faithfulness_tables.md."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfviz.atomic_files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faithfulness_tables.md"
PICTURES = ROOT / "docs" / "pictures"
UNDECIDED = "†"
TITLES = {
    "single_deletion": "single deletion ↑",
    "insertion_minus_deletion": "insertion − deletion ↑",
    "deletion": "deletion ↓",
    "insertion": "insertion ↑",
    "road": "ROAD ↑",
    "pointing_game": "pointing game ↑",
    "mass_in_region": "mass on the object ↑",
    "mass_on_other": "mass on the other ↓",
}
_METHOD, _CONTROL, _RANDOM = "#31688e", "#909090", "#c0392b"
_PANEL, _NAMES, _ROW, _FRAME = 1.75, 2.5, 0.17, 0.8  # inches
_COLORS = 64  # per PNG file

Row = dict[str, Any]


def markdown(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """Format rows as a table with one line per method, including the number of images."""
    shown = [measure for measure in measures if any(row["metric"] == measure for row in rows)]
    lines = [f"| method | n | {' | '.join(TITLES[one] for one in shown)} |", "|---" * (len(shown) + 2) + "|"]
    for method, layer in dict.fromkeys((row["method"], row["layer"]) for row in rows):
        own = {row["metric"]: row for row in rows if (row["method"], row["layer"]) == (method, layer)}
        if not set(shown) & set(own):
            continue
        counts = dict.fromkeys(str(own[one]["n"]) for one in shown if one in own)
        cells = [cell(own[one]) if one in own else "" for one in shown]
        name = f"*{method}*" if next(iter(own.values()))["is_control"] else f"`{method}`"
        lines.append(f"| {name} | {'/'.join(counts)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(row: Mapping[str, Any]) -> str:
    """Format a value with its interval."""
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['value']:.2f}{interval}{f' {UNDECIDED}' if row['decides'] is False else ''}"


def draw(rows: Sequence[Row], measures: Sequence[str], title: str) -> Figure:
    """Draw one panel per measure, with a dot and an interval per method."""
    shown = [measure for measure in measures if any(row["metric"] == measure for row in rows)]
    names = list(dict.fromkeys(row["method"] for row in rows if row["metric"] in shown))
    size = (_NAMES + _PANEL * len(shown), _FRAME + _ROW * len(names))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, shown, strict=True):
        own = [row for row in rows if row["metric"] == measure]
        _draw_panel(axes, own, names)
        axes.set_title(TITLES[measure], fontsize=8)
    panels[0].set_yticks(range(len(names)), names, fontsize=7)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    legend = "bars: 95 % intervals; hollow: the metric does not decide here; red: the random control; gray: controls"
    figure.suptitle(f"{title}\n{legend}", fontsize=8)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    for row in rows:
        draw_point(axes, row, names.index(row["method"]))
        if row["method"] == "random":
            axes.axvline(row["value"], color=_RANDOM, linewidth=0.8, zorder=0)
    axes.tick_params(axis="x", labelsize=6)
    axes.grid(axis="y", color="0.93")


def draw_point(axes: Axes, row: Mapping[str, Any], place: int, *, is_upright: bool = False) -> None:
    """Draw a value with its interval. A hollow dot marks an inconclusive result."""
    color = _CONTROL if row["is_control"] else _METHOD
    fill = "white" if row["decides"] is False else color
    for values, look in (([row["low"], row["high"]], "-"), ([row["value"]], "o")):
        places = [place] * len(values)
        x, y = (places, values) if is_upright else (values, places)
        axes.plot(x, y, look, color=color, linewidth=1, markersize=4, markerfacecolor=fill)


def save(figure: Figure, name: str) -> Path:
    """Write a figure to docs/pictures as a small PNG file."""
    from PIL import Image

    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{name}.png"
    figure.savefig(file, dpi=110)
    with Image.open(file) as image:
        image.convert("RGB").quantize(_COLORS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size // 1000} kB")
    return file


def write_block(name: str, text: str) -> None:
    """Replace the text between the two comments with this name in docs/faithfulness_tables.md."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    page = PAGE.read_text("utf-8")
    if begin not in page:
        print(text)
        return
    # A function is used because backslashes in a replacement string are escape sequences.
    written = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", page, flags=re.S)
    write_atomically(PAGE, written)
    print(f"{PAGE}: {name}")
