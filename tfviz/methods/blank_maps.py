"""Warn about maps that are zero everywhere or not finite, and state the reason.

To find the reason, this module reruns the network on one such image without the method's rules, and
checks its activations and gradients. If the rerun fails, the warning gives no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.errors import warn
from tfviz.graph.backprop import Values, backpropagate, inputs_of, run
from tfviz.graph.graph import Step, Value
from tfviz.graph.layer_search import is_on_every_path
from tfviz.graph.operations import Elementwise, Linear, Product, Relu
from tfviz.methods.nonfinite_gradients import origin
from tfviz.nesting import Nested


def zero_rows(attributions: Nested[np.ndarray]) -> np.ndarray:
    """Return a bool array of shape (N,) that marks images whose maps are zero everywhere."""
    return np.logical_and.reduce([~np.any(a, axis=tuple(range(1, a.ndim))) for a in tree.flatten(attributions)])


def warn_of_empty_maps(explainer: Any, attribution: Nested[tf.Tensor], images: list[tf.Tensor], target: targets.Target) -> bool:
    """Warn if some of a batch's maps are zero everywhere or not finite, and state the reason.

    Args:
        explainer: the explainer.
        attribution: the batch's attribution.
        images: one tensor per input.
        target: the target passed by the user.

    Returns:
        Whether a warning was issued.
    """
    if not all(hasattr(x, "numpy") for x in (*tree.flatten(attribution), *images)):
        return False  # inside a tf.function that is being traced
    maps = tree.map_structure(np.asarray, attribution)
    rows = zero_rows(maps) | nonfinite_rows(maps)
    if rows.any():
        i = int(rows.argmax())
        one = targets.rows_from(target, explainer._output_shapes(), i, 1) if explainer.takes_target else None
        warn_of(explainer, maps, [x[i : i + 1] for x in images], one)
    return bool(rows.any())


def nonfinite_rows(attributions: Nested[np.ndarray]) -> np.ndarray:
    """Return a bool array of shape (N,) that marks images with NaN or infinity in any map."""
    axes_of = lambda a: tuple(range(1, a.ndim))  # noqa: E731
    return np.logical_or.reduce([~np.isfinite(a).all(axis=axes_of(a)) for a in tree.flatten(attributions)])


def warn_of(explainer: Any, maps: Nested[np.ndarray], image: list[tf.Tensor], target: targets.Target) -> None:
    """Warn about the nonfinite maps or, if there are none, about the zero maps.

    The warning states the reason that was found for `image`.

    Args:
        explainer: the explainer.
        maps: the maps for all images.
        image: one image whose map is zero or not finite, as a batch of size 1 for each model input.
        target: the target for that image.
    """
    where = f" at layer '{explainer.layer_path}'" if hasattr(explainer, "layer_path") else ""
    zero, nonfinite = zero_rows(maps), nonfinite_rows(maps)
    if nonfinite.any():
        found = f"{int(nonfinite.sum())} of {len(nonfinite)} maps of {explainer.key}{where} contain NaN or infinity"
        reason = _diagnosis(explainer, lambda: _reason_for_nonfinite(explainer, image, target))
    else:
        found = f"{int(zero.sum())} of {len(zero)} maps of {explainer.key}{where} are zero everywhere"
        reason = _diagnosis(explainer, lambda: _reason_for_zero(explainer, image, target))
    warn(f"{found}. {reason}" if reason else f"{found}.")


def _diagnosis(explainer: Any, reason: Callable[[], str]) -> str:
    """Return the reason for a blank map, or "" if the diagnosis raises an exception."""
    try:
        with explainer.read.tracing():
            return reason()
    except Exception:
        return ""


def _reason_for_nonfinite(explainer: Any, images: list[tf.Tensor], target: targets.Target) -> str:
    graph = explainer.graph
    values = run(inputs_of(graph, images), graph.before(graph.outputs))
    for step in graph.before(graph.outputs):
        if not _are_finite(values, step.outputs):
            end = "" if _are_finite(values, graph.outputs) else " and reach the network's output"
            return f"These values originate in the output of '{step.path}'{end}. Check the layer's weights and the images."
    prepared = explainer.prepared_target(images, target) if explainer.takes_target else None
    found = origin(graph, images, targets.seed_for(prepared))
    if found and found.is_singular:
        return (
            f"The derivative of {found.step.label} is infinite or undefined for these images. For example, this happens for "
            "sqrt(x), log(x) and 1/x at x = 0. Keep the argument away from 0, as in sqrt(x + 1e-6), or explain a layer above "
            "this operation."
        )
    where = f" at {found.step.label}" if found else ""
    if not graph.is_half_precision():
        return f"The gradient overflows float32{where}. Check the weights for large values."
    return (
        f"The gradient{where} overflows the network's compute dtype. Build the network with the dtype policy 'float32' or "
        "'mixed_bfloat16' and the same weights."
    )


def _are_finite(values: Values, which: Sequence[Value]) -> bool:
    return all(np.isfinite(np.asarray(tf.cast(values[value], tf.float64))).all() for value in which)


def _reason_for_zero(explainer: Any, images: list[tf.Tensor], target: targets.Target) -> str:
    """Explain why one image's map is zero and what to do about it."""
    graph, at = explainer.graph, _explained_values(explainer)
    values = run(inputs_of(graph, images), graph.before(graph.outputs))
    dead = _dead_step(explainer, values)
    if dead:
        return (
            f"All activations of '{dead}' are 0 for these images, and all paths pass through this layer. Check its weights "
            "and the image preprocessing."
        )
    if explainer.takes_target and not _score_moves(explainer, values, target, at):
        cause = "its softmax or sigmoid is saturated" if explainer.score == "outputs" else "it is saturated"
        remedy = "Explain the logits with score='logits', or try" if explainer.score == "outputs" else "Try"
        return (
            f"The score does not depend on the explained values. Either {cause}, or the target does not use these values. "
            f"{remedy} another target or layer."
        )
    return "The method found no evidence for the target. Try another target, layer or method."


def _explained_values(explainer: Any) -> list[Value]:
    layer = getattr(explainer, "layer", None)
    return [layer] if layer is not None else getattr(explainer, "at", explainer.graph.inputs)


def _dead_step(explainer: Any, values: Values) -> str | None:
    """Return the name of the first step that lies on every path and outputs only zeros.

    If there is no such step, return None. Only steps that can lose their signal are considered,
    such as activations and linear maps.
    """
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
    graph = explainer.graph
    prepared = explainer.prepared_target([values[value] for value in graph.inputs], target)
    behind = graph.after(at)
    # Only the steps above the explained values need to run again.
    known = {value: x for value, x in values.items() if value in at or value not in behind}
    gradients = backpropagate(graph, known, targets.seed_for(prepared), at).gradients
    return any(bool(tf.reduce_any(gradient != 0)) for gradient in gradients)
