"""Maps that are zero everywhere, and why: a closed ReLU, a score that nothing moves, or a layer that speaks against it.

One image whose map is blank is run once more, without the method's rules: what is zero on that way names the reason. If
that run fails, the warning gives no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import keras_internals, targets
from tfviz.errors import warn
from tfviz.graph.backprop import Values, backpropagate, inputs_of, run
from tfviz.graph.graph import Step, Value
from tfviz.graph.layer_search import is_on_every_path
from tfviz.graph.operations import Elementwise, Linear, Product, Relu
from tfviz.methods.nonfinite_gradients import origin
from tfviz.nesting import Nested


def blank_rows(attributions: Nested[np.ndarray]) -> np.ndarray:
    """For each image whether its map, of every input, is zero everywhere: (N,) bool."""
    return np.logical_and.reduce([~np.any(a, axis=tuple(range(1, a.ndim))) for a in tree.flatten(attributions)])


def warn_of_empty_maps(explainer: Any, attribution: Nested[tf.Tensor], images: list[tf.Tensor], target: targets.Target) -> bool:
    """Warns that maps of a batch are blank or not finite, and why; returns whether it did.

    Args:
        attribution: of the batch. images: one tensor for each input. target: as the user gave it.
    """
    if not all(hasattr(x, "numpy") for x in (*tree.flatten(attribution), *images)):
        return False  # in a function that is being traced
    maps = tree.map_structure(np.asarray, attribution)
    rows = blank_rows(maps) | broken_rows(maps)
    if rows.any():
        i = int(rows.argmax())
        one = targets.rows_from(target, explainer._output_shapes(), i, 1) if explainer.takes_target else None
        warn_of(explainer, maps, [x[i : i + 1] for x in images], one)
    return bool(rows.any())


def broken_rows(attributions: Nested[np.ndarray]) -> np.ndarray:
    """For each image whether its map, of any input, holds NaN or infinity: (N,) bool."""
    axes_of = lambda a: tuple(range(1, a.ndim))  # noqa: E731
    return np.logical_or.reduce([~np.isfinite(a).all(axis=axes_of(a)) for a in tree.flatten(attributions)])


def warn_of(explainer: Any, maps: Nested[np.ndarray], image: list[tf.Tensor], target: targets.Target) -> None:
    """Warns of the blank and the broken ones among maps, with the reason for the one of `image`.

    Args:
        image: a batch of one for each input, whose map is blank or broken.
        target: what is explained of that image.
    """
    where = f" at layer '{explainer.layer_path}'" if hasattr(explainer, "layer_path") else ""
    blank, broken = blank_rows(maps), broken_rows(maps)
    if broken.any():
        found = f"{int(broken.sum())} of {len(broken)} maps of {explainer.key}{where} hold NaN or infinity"
        reason = _diagnosis(explainer, lambda: _reason_of_broken(explainer, image, target))
    else:
        found = f"{int(blank.sum())} of {len(blank)} maps of {explainer.key}{where} are zero everywhere"
        reason = _diagnosis(explainer, lambda: _reason(explainer, image, target))
    warn(f"{found}: {reason}" if reason else f"{found}.")


def _diagnosis(explainer: Any, reason: Callable[[], str]) -> str:
    """The reason for a map; "" where looking for it fails, since a map must not be lost to its diagnosis."""
    try:
        with keras_internals.untouched(explainer.model):
            return reason()
    except Exception:
        return ""


def _reason_of_broken(explainer: Any, images: list[tf.Tensor], target: targets.Target) -> str:
    graph = explainer.graph
    values = run(inputs_of(graph, images), graph.before(graph.outputs))
    for step in graph.before(graph.outputs):
        if not _are_finite(values, step.outputs):
            end = "" if _are_finite(values, graph.outputs) else ", and with it the network's output"
            return f"so does what '{step.path}' gives{end}. Look at its weights and at the images"
    prepared = targets.prepare(target, explainer._output_shapes(), 1) if explainer.takes_target else None
    found = origin(graph, images, targets.seed_for(prepared))
    if found and found.is_singular:
        return (
            f"the derivative of {found.step.label} is infinite or undefined for this image, as that of a square root, a "
            "logarithm or a division is at 0. Keep its argument away from 0, as in sqrt(x + 1e-6), or explain a layer above it"
        )
    where = f" at {found.step.label}" if found else ""
    if not graph.is_half_precision():
        return f"the gradient grows beyond what float32 holds{where}. Look at the size of the weights"
    return (
        f"the gradient{where} is too large for the type that the network computes in. Build it with the dtype policy "
        "'float32' or 'mixed_bfloat16'; the same weights fit"
    )


def _are_finite(values: Values, which: Sequence[Value]) -> bool:
    return all(np.isfinite(np.asarray(tf.cast(values[value], tf.float64))).all() for value in which)


def _reason(explainer: Any, images: list[tf.Tensor], target: targets.Target) -> str:
    """Why the map of one image is blank, and what to do."""
    graph, at = explainer.graph, _looked_at(explainer)
    values = run(inputs_of(graph, images), graph.before(graph.outputs))
    dead = _dead_step(explainer, values)
    if dead:
        return (
            f"all of '{dead}' is 0 for such an image, and everything goes through it (dead activations). Look at its weights, "
            "and at how the images are preprocessed"
        )
    if explainer.takes_target and not _score_moves(explainer, values, target, at):
        flat = ", at the flat end of a softmax or a sigmoid: explain the logits, score='logits'"
        return (
            f"the score does not change with anything there (it is saturated{flat if explainer.score == 'outputs' else ''}; "
            "or the target has no part in it). Try another target or layer"
        )
    return "nothing there speaks for the target (the wrong layer, perhaps). Try another target, layer or method"


def _looked_at(explainer: Any) -> list[Value]:
    layer = getattr(explainer, "layer", None)
    return [layer] if layer is not None else getattr(explainer, "at", explainer.graph.inputs)


def _dead_step(explainer: Any, values: Values) -> str | None:
    """The first step that everything goes through and that gives nothing but zeros."""
    graph = explainer.graph
    for step in graph.before(graph.outputs):
        zeros = [value for value in step.outputs if not np.any(values[value])]
        if zeros and _can_die(step) and is_on_every_path(graph, zeros[0]):
            return step.path
    return None


def _can_die(step: Step) -> bool:
    is_activation = isinstance(step.operation, Elementwise) and not step.operation.is_affine
    return is_activation or isinstance(step.operation, (Relu, Linear, Product))


def _score_moves(explainer: Any, values: Values, target: targets.Target, at: list[Value]) -> bool:
    prepared, graph = targets.prepare(target, explainer._output_shapes(), 1), explainer.graph
    behind = graph.after(at)
    known = {value: x for value, x in values.items() if value in at or value not in behind}  # only the rest is compiled
    gradients = backpropagate(graph, known, targets.seed_for(prepared), at).gradients
    return any(bool(tf.reduce_any(gradient != 0)) for gradient in gradients)
