"""Draw the sanity figure: map similarity as more and more layers are randomized."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from method_scores import Pictures
from method_tables import save, write_block

from tfviz.errors import UnsupportedModelError
from tfviz.methods.explainer import Explainer
from tfviz.metrics.sanity import scores_by_method
from tfviz.metrics.sanity_result import SanityCheck, reason_of
from tfviz.metrics.sanity_score import DECIDING, UNRELATED, SanityScore

IMAGES, STEPS = 12, 6
ORDERS = {"top_down": "#0072B2", "bottom_up": "#D55E00"}
_COLUMNS, _PANEL_WIDTH, _PANEL_HEIGHT = 5, 2.1, 1.35  # inches


def check_sanity(
    name: str,
    model: keras.Model,
    pictures: Pictures,
    folder: Path,
    explainers: Callable[[], Mapping[str, Explainer]],
    seed: int,
) -> None:
    """Run the sanity checks that have no stored results, and write the figure and the verdicts."""
    file = folder / "sanity.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    stored = dict(json.loads(line) for line in file.read_text("utf-8").splitlines()) if file.exists() else {}
    images = pictures.images[:IMAGES]
    for key, explainer in explainers().items():
        if key in stored:
            continue
        options: dict[str, Any] = {"orders": tuple(ORDERS), "steps": STEPS, "batch_size": IMAGES, "seed": seed}
        try:
            (scores,) = scores_by_method(model, images, [explainer], **options)
        except UnsupportedModelError as error:
            print(f"{key}: {error}")
            continue
        stored[key] = [{**asdict(score), "method": key} for score in scores]
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps([key, stored[key]]) + "\n")
        print(f"sanity: {key}", flush=True)
    check = SanityCheck([SanityScore(**score) for scores in stored.values() for score in scores])
    save(draw(check.rows, model.name, len(images)), f"{name}_sanity")
    write_block(f"{name}_sanity", verdicts(check))


def verdicts(check: SanityCheck) -> str:
    """Return the verdicts as a table with one line per method."""
    tested = list(dict.fromkeys(str(one["on"]) for one in check.verdicts))
    lines = ["| method | " + " | ".join(f"on {on}" for on in tested) + " |", "|---" * (len(tested) + 1) + "|"]
    for method in check.methods:
        found = {one["on"]: one for one in check.verdicts if one["method"] == method}
        cells = [f"{found[on]['verdict']} ({reason_of(found[on])})" if reason_of(found[on]) else "" for on in tested]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], model: str, count: int) -> Figure:
    """Draw one panel per method, with one curve per randomization order."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = math.ceil(len(methods) / _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _PANEL_WIDTH, lines * _PANEL_HEIGHT + 0.6), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=False):
        _draw_panel(axes, [row for row in rows if row["method"] == method and row["measure"] == DECIDING])
        axes.set_title(method, fontsize=7)
    for axes in panels.flat[len(methods) :]:
        axes.set_axis_off()
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    figure.suptitle(
        f"{model}: Spearman's correlation with the original map (n = {count}), by share of randomized layers", fontsize=8
    )
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for order, color in ORDERS.items():
        own = sorted((row for row in rows if row["test"] == order), key=lambda row: row["depth"])
        depths = [0.0, *(row["depth"] for row in own)]
        label = {"top_down": "from the output down", "bottom_up": "from the image up"}[order]
        axes.plot(depths, [1.0, *(row["value"] for row in own)], "o-", color=color, markersize=2, linewidth=1, label=label)
        axes.fill_between(
            depths, [1.0, *(row["low"] for row in own)], [1.0, *(row["high"] for row in own)], color=color, alpha=0.2
        )
    for row in rows:
        if row["test"] == UNRELATED:
            axes.axhline(row["value"], color="black", linestyle="--", linewidth=0.8, label="maps of two different images")
    axes.set_ylim(-0.35, 1.05)
    axes.tick_params(labelsize=6)
