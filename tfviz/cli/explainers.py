"""Choose the methods to run and build them on the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfviz.errors import OptionError, TargetError, TfvizError, UnknownLayerError, UnsupportedModelError
from tfviz.graph.layer_search import require_height_and_width
from tfviz.methods import METHODS, ExcitationBackprop
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named, takes_layer

DEFAULT_METHODS = ("grad_cam", "guided_backprop")
_UNSUITABLE = (UnsupportedModelError, UnknownLayerError, TargetError)


def chosen_methods(names: Sequence[str] | None) -> list[type[Explainer]]:
    """Return the methods that `--method` names, without repetitions.

    Args:
        names: keys of methods, or "all". None selects the default methods.

    Returns:
        The method classes.

    Raises:
        UnknownMethodError: there is no such method.
    """
    if names is None:
        return [METHODS[key] for key in DEFAULT_METHODS]
    if "all" in map(str.lower, names):
        return list(METHODS.values())
    return list(dict.fromkeys(map(method_named, names)))


def explainers_for(
    model: keras.Model, names: Sequence[str] | None, layer: str | None, classes: int | None, say: Callable[[str], None]
) -> list[Explainer]:
    """Build the chosen methods on the model.

    A method named explicitly must support the model. Unsupported ones among "all" or the defaults
    are skipped with a note, as long as at least one method remains (with `layer`, one that takes a
    layer).

    Args:
        model: the model.
        names: keys of methods, or "all". None selects the default methods.
        layer: the value of `--layer`.
        classes: the number of classes; None for a model that is not a classifier.
        say: prints a line.

    Returns:
        The explainers.

    Raises:
        OptionError: none of the chosen methods takes a layer.
        UnsupportedModelError: a method cannot explain the model.
        UnknownLayerError: a method cannot use this layer.
        TargetError: a method needs a class, and the model is not a classifier.
    """
    methods = chosen_methods(names)
    if layer is not None and not any(map(takes_layer, methods)):
        takers = ", ".join(key for key, method in METHODS.items() if takes_layer(method))
        raise OptionError(f"None of the chosen methods takes a layer. Received: --layer {layer}. Methods that do: {takers}.")
    built: list[Explainer] = []
    skipped: list[TfvizError] = []
    for method in methods:
        try:
            built.append(_built(method, model, layer, classes))
        except _UNSUITABLE as error:
            named: TfvizError = type(error)(f"{method.key}: {error}")
            if names is not None and "all" not in map(str.lower, names):
                raise named from error
            skipped.append(named)
    _require_some(built, skipped, layer)
    for unsuitable in skipped:
        say(f"Skipped {unsuitable}")
    return built


def _require_some(built: Sequence[Explainer], skipped: Sequence[TfvizError], layer: str | None) -> None:
    has_layer = any(takes_layer(type(explainer)) for explainer in built)
    layer_errors = [error for error in skipped if isinstance(error, UnknownLayerError)]
    if layer is not None and not has_layer and layer_errors:
        raise layer_errors[0]
    if not built:
        raise skipped[0]


def _built(method: type[Explainer], model: keras.Model, layer: str | None, classes: int | None) -> Explainer:
    if method.takes_target and classes is None:
        raise TargetError(
            "The model is not a classifier with one output (N, classes), so it has no classes to explain. Pass a function "
            "of the outputs as the target in Python, or use visual_backprop, which takes no target."
        )
    at_layer: dict[str, Any] = {"layer": layer} if layer is not None and takes_layer(method) else {}
    explainer = method(model, **at_layer)
    # Excitation backprop also accepts layers whose maps cannot be drawn.
    if at_layer and isinstance(explainer, ExcitationBackprop):
        require_height_and_width(explainer.graph, explainer.at[0], explainer.layer_path)
    return explainer
