"""Compare the layers that each method can explain, to choose its default layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from method_scores import Part, Pictures
from method_tables import TITLES, cell, draw_point

import tfviz
from tfviz.errors import TfvizError, UnsupportedModelError
from tfviz.graph.graph import Graph
from tfviz.graph.layer_search import covers_image, has_height_and_width, is_on_every_path
from tfviz.graph.operations import Identity, Move, Window
from tfviz.metrics.metric import Metric
from tfviz.metrics.sources import Method
from tfviz.metrics.statistics import Sample, estimate
from tfviz.reading.read_model import read_model

CAMS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "xgrad_cam", "eigen_cam", "eigen_grad_cam")
EXCITATION = ("excitation_backprop", "contrastive_excitation_backprop")
COUNT = 200
SEPARATOR = " @ "
_PANEL = 1.05  # inches

Row = Mapping[str, Any]


def layer_parts(model: keras.Model, metrics: Sequence[str | Metric]) -> list[Part]:
    """Return a study part that runs all layer-based methods at the end of each stage."""
    return [Part("layers", at_layers, metrics, COUNT)]


def at_layers(model: keras.Model, pictures: Pictures) -> Mapping[str, Method]:
    """Build the methods for the end of each stage, and excitation backprop also for the image."""
    found: dict[str, Method] = {}
    stages = stage_ends(read_model(model, accept_opaque=True).graph)
    for key in (*EXCITATION, *CAMS):
        for layer in [*([None] if key in EXCITATION else []), *stages]:
            try:
                found[f"{key}{SEPARATOR}{layer or 'image'}"] = tfviz.METHODS[key](model, layer=layer)
            except TfvizError as error:
                print(f"{key} at {layer}: {error}")
    for layer in stages:
        part = keras.Model(model.input, model.get_layer(layer).output)
        try:
            found[f"visual_backprop{SEPARATOR}{layer}"] = _maps_of(tfviz.VisualBackProp(part))
        except UnsupportedModelError as error:
            print(f"visual_backprop up to {layer}: {error}")
    return found


def _maps_of(explainer):
    """Wrap an explainer of part of the model, so that it can be evaluated on the whole model."""

    def maps(images, classes):
        return explainer(images)

    return maps


def stage_ends(graph: Graph) -> list[str]:
    """For each map size, return the last non-pooling layer that lies on every path."""
    ends: dict[tuple[int | None, ...], str] = {}
    for step in graph.before(graph.outputs):
        value = step.outputs[0]
        is_map = has_height_and_width(value) and value.rank == 4 and covers_image(graph, value)
        if is_map and not isinstance(step.operation, (Window, Identity, Move)) and is_on_every_path(graph, value):
            ends[value.shape[1:-1]] = graph.name_of(value)
    return list(ends.values())


def _parted(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Group one measure's rows by method and layer. The layer of a control is ""."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        method, _, layer = row["method"].partition(SEPARATOR)
        found.setdefault(method, {})[layer] = row
    return found


def markdown_by_layer(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """Format rows as one table per measure, with a column per layer."""
    return "\n\n".join(_table([row for row in rows if row["metric"] == measure], measure) for measure in measures)


def _table(rows: Sequence[Row], measure: str) -> str:
    parted = _parted(rows)
    layers = [layer for layer in next(iter(parted.values())) if layer]
    lines = [f"| {TITLES[measure]} (n = {rows[0]['n']}) | {' | '.join(layers)} |", "|---" * (len(layers) + 1) + "|"]
    for method, own in parted.items():
        if "" in own:  # A control is the same for every layer.
            lines.append(f"| *{method}* | {cell(own[''])} |{' |' * (len(layers) - 1)}")
        else:
            lines.append(f"| `{method}` | {' | '.join(cell(own[one]) if one in own else '' for one in layers)} |")
    return "\n".join(lines)


def draw_by_layer(rows: Sequence[Row], measures: Sequence[str], title: str) -> Figure:
    """Draw one row of panels per measure and one column per method. The x-axis shows the layers."""
    methods = [
        method for method, own in _parted([row for row in rows if row["metric"] == measures[0]]).items() if "" not in own
    ]
    size = (1.0 + _PANEL * len(methods), 1.3 + _PANEL * len(measures))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(measures), len(methods), sharex=True, sharey="row", squeeze=False)
    for line, measure in zip(panels, measures, strict=True):
        parted = _parted([row for row in rows if row["metric"] == measure])
        layers = [layer for layer in next(iter(parted.values())) if layer]
        line[0].set_ylabel(TITLES[measure], fontsize=7)
        for axes, method in zip(line, methods, strict=True):
            _draw_panel(axes, parted[method], layers, parted["random"][""]["value"])
    for axes, method in zip(panels[0], methods, strict=True):
        axes.set_title(method.replace("contrastive_", "contrastive_\n").replace("_backprop", "\n_backprop"), fontsize=6)
    figure.suptitle(
        f"{title}, by layer: from the image (left) to the last feature map (right); red: the random control", fontsize=8
    )
    return figure


def _draw_panel(axes: Axes, own: Mapping[str, Row], layers: Sequence[str], random: float) -> None:
    axes.axhline(random, color="#c0392b", linewidth=0.8, zorder=0)
    for place, layer in enumerate(layers):
        if layer in own and not math.isnan(own[layer]["low"]):
            draw_point(axes, own[layer], place, is_upright=True)
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=5)
    axes.tick_params(axis="y", labelsize=5)


def arriving_probability(model: keras.Model, pictures: Pictures) -> str:
    """Return a table of the probability that reaches each layer in excitation backprop."""
    images = pictures.images[:COUNT]
    layers = [None, *stage_ends(read_model(model, accept_opaque=True).graph)]
    cells = []
    for layer in layers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The table already shows the lost probability.
            maps = tfviz.ExcitationBackprop(model, layer).explain(images, verbose=0)
        places = np.arange(len(maps))
        found = estimate(Sample(maps.sum(axis=(1, 2)), places, np.zeros_like(places), len(maps)), "mean", seed=0)
        cells.append(f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
    heads = [f"probability that arrives (n = {len(images)})", *(layer or "image" for layer in layers)]
    return "\n".join(
        [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", f"| `excitation_backprop` | {' | '.join(cells)} |"]
    )
