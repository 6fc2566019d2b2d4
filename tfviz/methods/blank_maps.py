"""Maps that are zero everywhere, and why: a closed ReLU, a score that nothing moves, or a layer that speaks against it.

One image whose map is blank is run once more, without the method's rules: what is zero on that way names the reason.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.graph import keras_graph
from tfviz.graph.layers import is_on_every_path
from tfviz.graph.places import Value
from tfviz.graph.walk import backpropagate, inputs_of, run
from tfviz.methods.inputs import checked_images

_CAN_DIE = ("relu", "activation", "linear", "multiply")


def blank_rows(attributions: Any) -> np.ndarray:
    """For each image whether its map, of every input, is zero everywhere: (N,) bool."""
    return np.logical_and.reduce([~np.any(a, axis=tuple(range(1, a.ndim))) for a in tree.flatten(attributions)])


def warn_of_blank_maps(explainer: Any, blank: np.ndarray, image: Any, target: Any) -> None:
    """Warns that maps are blank, with the reason for the one of `image`.

    Args:
        blank: (N,) bool, of all maps.
        image: a batch of one, whose map is blank.
        target: what is explained of that image.
    """
    where = f" at layer '{explainer.layer_path}'" if hasattr(explainer, "layer_path") else ""
    with keras_graph.untouched(explainer.model):
        reason = _reason(explainer, checked_images(explainer.graph, image), target)
    warnings.warn(
        f"{int(blank.sum())} of {len(blank)} maps of {explainer.key}{where} are zero everywhere: {reason}",
        stacklevel=4,
    )


def _reason(explainer: Any, images: list[Any], target: Any) -> str:
    """Why the map of one image is blank, and what to do."""
    graph, at = explainer.graph, _looked_at(explainer)
    dead = _dead_place(explainer, run(inputs_of(graph, images), graph.before(graph.outputs)))
    if dead:
        return (
            f"all of '{dead}' is 0 for such an image, and everything goes through it (dead activations). Look at its weights, "
            "and at how the images are preprocessed"
        )
    if explainer.takes_target and not _score_moves(explainer, images, target, at):
        flat = ", at the flat end of a softmax or a sigmoid: explain the logits, score='logits'"
        return (
            f"the score does not change with anything there (it is saturated{flat if explainer.score == 'outputs' else ''}; "
            "or the target has no part in it). Try another target or layer"
        )
    return "nothing there speaks for the target (the wrong layer, perhaps). Try another target, layer or method"


def _looked_at(explainer: Any) -> list[Value]:
    layer = getattr(explainer, "layer", None)
    return [layer] if layer is not None else getattr(explainer, "at", explainer.graph.inputs)


def _dead_place(explainer: Any, values: dict[Value, Any]) -> str | None:
    """The first place that everything goes through and that gives nothing but zeros."""
    graph = explainer.graph
    for place in graph.before(graph.outputs):
        zeros = [value for value in place.outputs if not np.any(values[value])]
        if zeros and place.kind in _CAN_DIE and is_on_every_path(graph, zeros[0]):
            return place.path
    return None


def _score_moves(explainer: Any, flat: list[Any], target: Any, at: list[Value]) -> bool:
    prepared = targets.prepare(target, explainer._output_shapes(), 1)
    gradients = backpropagate(explainer.graph, inputs_of(explainer.graph, flat), targets.seed_for(prepared), at).gradients
    return any(bool(tf.reduce_any(gradient != 0)) for gradient in gradients)
