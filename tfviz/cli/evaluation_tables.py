"""Generate HTML for the tables and figures at the top of the `tfviz evaluate` report."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tfviz.metrics import METRICS
from tfviz.metrics.evaluation import Evaluation
from tfviz.metrics.sanity_result import SanityCheck, reason_of
from tfviz.metrics.sanity_score import HARDLY_DEPENDS
from tfviz.render import title_of

_HOW_TO_READ = (
    "Faithfulness metrics often contradict each other, and there is no agreed standard. Controls (in italics) are maps that "
    "don't depend on the network. The mark is the value, and the line is its 95 % interval over the images. “Does not decide "
    "here” means that the random control is not significantly worse than the method. Methods are listed in a fixed order, "
    "not ranked."
)
_SANITY = (
    "Layers in a copy of the model get random weights, and the copy's maps are compared with the original maps. “Kept” is "
    "the share of the similarity that remains, where 0 % is the similarity between maps of different images. Above 50 %, the "
    "method hardly depends on these layers, so its maps cannot show what the layers have learned. Maps for a different "
    "random class are compared in the same way. A blank map has a similarity of 0. A map that depends on the weights is not "
    "necessarily correct."
)


def preface(evaluation: Evaluation, sanity: SanityCheck, figures: Sequence[str]) -> str:
    """Return the HTML that precedes the images on the page.

    Args:
        evaluation: the scores.
        sanity: the sanity check results.
        figures: the figure paths, relative to the page.
    """
    measures = list(dict.fromkeys(row["metric"] for row in evaluation.rows))
    cards = [_measure_card([row for row in evaluation.rows if row["metric"] == key]) for key in measures]
    cards += [_sanity_card(sanity)] if sanity.rows else []
    cards += [_figure(path) for path in figures]
    notes = "".join(f'<p class="quiet">{html.escape(note)}</p>' for note in evaluation.notes)
    return f'<p class="quiet">{_HOW_TO_READ}</p>{notes}<div class="cards">{"".join(cards)}</div><h2>Maps and scores</h2>'


_FIGURES = {"figures/curves.png": "Curves", "figures/sanity.png": "Similarity to the original maps, by randomized layer"}


def _figure(path: str) -> str:
    title = _FIGURES[path]
    return _card(title, f'<a href="{path}"><img src="{path}" alt="{title}"></a>', kind="card wide")


def _card(title: str, content: str, about: str = "", kind: str = "card") -> str:
    words = f"<p>{html.escape(about)}</p>" if about else ""
    return f'<section class="{kind}"><h2>{html.escape(title)}</h2>{words}{content}</section>'


def _measure_card(rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]
    low, high = _limits(rows)
    lines = "".join(_line(row, low, high) for row in rows)
    forwards = f"{max(row['forwards'] for row in rows):g}"
    direction = "Higher is better." if first["higher_is_better"] else "Lower is better."
    cost = (
        f"{forwards} forward pass{'es' * (forwards != '1')} per image." if forwards != "0" else "No additional forward passes."
    )
    about = " ".join(filter(None, (_question_of(first["metric"]), direction, cost)))
    numbers = "".join(f'<th class="number">{name}</th>' for name in ("value", "n", "blank"))
    head = f'<tr><th>method</th><th class="range"></th>{numbers}<th></th></tr>'
    return _card(first["metric"].replace("_", " "), f"<table>{head}{lines}</table>", about)


def _question_of(measure: str) -> str:
    return next((one.question for one in METRICS.values() if measure in [part.key for part in one.measures]), "")


def _limits(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    values = [row[name] for row in rows for name in ("value", "low", "high") if not math.isnan(row[name])]
    low, high = min([0.0, *values]), max([0.0, *values])
    return low, high if high > low else low + 1


def _line(row: dict[str, Any], low: float, high: float) -> str:
    kind = "control" if row["is_control"] else "undecided" if row["decides"] is False else ""
    name = row["method"] if row["is_control"] else title_of(row["method"])
    layer = f"<br><small>{html.escape(row['layer'])}</small>" if row["layer"] else ""
    verdict = "does not decide here" if row["decides"] is False else ""
    interval = "" if math.isnan(row["low"]) else f" <small>[{row['low']:.3f}, {row['high']:.3f}]</small>"
    blank = str(row["blank"]) if row["blank"] else ""
    return (
        f'<tr class="{kind}"><td>{html.escape(name)}{layer}</td><td class="range">{_range(row, low, high)}</td>'
        f'<td class="number">{row["value"]:.3f}{interval}</td><td class="number">{row["n"]}</td><td class="number">{blank}</td>'
        f"<td>{verdict}</td></tr>"
    )


def _range(row: dict[str, Any], low: float, high: float) -> str:
    """Return HTML that draws an interval as a line and a value as a mark on it."""
    if math.isnan(row["value"]):
        return ""
    place = lambda value: 100 * (value - low) / (high - low)  # noqa: E731
    zero = f'<b style="left: {place(0):.1f}%"></b>'
    mark = f'{zero}<i style="left: {place(row["value"]):.1f}%"></i>'
    if math.isnan(row["low"]):
        return mark
    return f'<span style="left: {place(row["low"]):.1f}%; width: {place(row["high"]) - place(row["low"]):.1f}%"></span>{mark}'


def _sanity_card(sanity: SanityCheck) -> str:
    tested = list(dict.fromkeys(str(one["on"]) for one in sanity.verdicts))
    head = "".join(f"<th>on {html.escape(on)}</th>" for on in tested)
    lines = "".join(
        f"<tr><td>{html.escape(title_of(method))}</td>{''.join(_verdicts(sanity, method))}</tr>" for method in sanity.methods
    )
    return _card("Sanity checks: what do the maps depend on?", f"<table><tr><th>method</th>{head}</tr>{lines}</table>", _SANITY)


def _verdicts(sanity: SanityCheck, method: str) -> Iterator[str]:
    for one in sanity.verdicts:
        if one["method"] == method:
            words = str(one["verdict"])
            kept = f" <small>({reason_of(one)})</small>" if reason_of(one) else ""
            yield f"<td>{f'<strong>{words}</strong>' if words == HARDLY_DEPENDS else words}{kept}</td>"
