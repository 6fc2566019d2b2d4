"""The parts of the study of default layers: which layer should each method explain?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from method_scores import Part, Pictures

import tfviz
from tfviz.errors import TfvizError, UnsupportedModelError
from tfviz.graph.graph import Graph
from tfviz.graph.layer_search import covers_image, has_height_and_width, is_on_every_path
from tfviz.graph.operations import Identity, Move, Window
from tfviz.metrics.metric import Metric
from tfviz.metrics.sources import Method
from tfviz.reading.read_model import read_model

CAMS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "xgrad_cam", "eigen_cam", "eigen_grad_cam")
EXCITATION = ("excitation_backprop", "contrastive_excitation_backprop")
COUNT = 200
SEPARATOR = " @ "


def layer_parts(model: keras.Model, metrics: Sequence[str | Metric]) -> list[Part]:
    """Return one part: all methods that have a layer, at the end of each stage."""
    return [Part("layers", at_layers, metrics, COUNT)]


def at_layers(model: keras.Model, pictures: Pictures) -> Mapping[str, Method]:
    """Build the methods at the end of each stage, and excitation backprop at the image too."""
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
    """Explain another model than the one that is evaluated."""

    def maps(images, classes):
        return explainer(images)

    return maps


def stage_ends(graph: Graph) -> list[str]:
    """Return the last layer of each size, among those that every path goes through and that are no pooling."""
    ends: dict[tuple[int | None, ...], str] = {}
    for step in graph.before(graph.outputs):
        value = step.outputs[0]
        is_map = has_height_and_width(value) and value.rank == 4 and covers_image(graph, value)
        if is_map and not isinstance(step.operation, (Window, Identity, Move)) and is_on_every_path(graph, value):
            ends[value.shape[1:-1]] = graph.name_of(value)
    return list(ends.values())
