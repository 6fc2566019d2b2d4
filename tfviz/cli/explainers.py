"""Which methods are run, and which of them suit the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfviz.errors import OptionError, TargetError, TfvizError, UnknownLayerError, UnsupportedModelError
from tfviz.graph.layer_search import require_height_and_width
from tfviz.methods import METHODS, ExcitationBackprop
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named

DEFAULT_METHODS = ("grad_cam", "guided_backprop")
_NOT_SUITED = (UnsupportedModelError, UnknownLayerError, TargetError)


def takes_layer(method: type[Explainer]) -> bool:
    """Whether a method has a layer to choose."""
    return "layer" in inspect.signature(method.__init__).parameters  # `method` itself: *args on Python 3.10


def chosen_methods(names: Sequence[str] | None) -> list[type[Explainer]]:
    """The methods that `--method` names, each once; None: the default ones. Raises UnknownMethodError."""
    if names is None:
        return [METHODS[key] for key in DEFAULT_METHODS]
    if "all" in map(str.lower, names):
        return list(METHODS.values())
    return list(dict.fromkeys(map(method_named, names)))


def explainers_for(
    model: keras.Model, names: Sequence[str] | None, layer: str | None, classes: int | None, say: Callable[[str], None]
) -> list[Explainer]:
    """The chosen methods, built on the model.

    A method that is named must suit the model. Of "all", and of the default ones, those that do not are left out, and
    `say` gets a line that says why; one of them must remain, and one that takes the layer, if there is one.

    Raises OptionError for a layer that no chosen method takes, and what the methods raise (see _NOT_SUITED).
    """
    methods = chosen_methods(names)
    if layer is not None and not any(map(takes_layer, methods)):
        takers = ", ".join(key for key, method in METHODS.items() if takes_layer(method))
        raise OptionError(f"--layer {layer}: none of the chosen methods takes a layer. Those that do: {takers}.")
    built: list[Explainer] = []
    refusals: list[TfvizError] = []
    for method in methods:
        try:
            built.append(_built(method, model, layer, classes))
        except _NOT_SUITED as error:
            refusal: TfvizError = type(error)(f"{method.key}: {error}")
            if names is not None and "all" not in map(str.lower, names):
                raise refusal from error
            refusals.append(refusal)
    _require_some(built, refusals, layer)
    for refusal in refusals:
        say(f"Left out {refusal}")
    return built


def _require_some(built: Sequence[Explainer], refusals: Sequence[TfvizError], layer: str | None) -> None:
    has_layer = any(takes_layer(type(explainer)) for explainer in built)
    about_layer = [error for error in refusals if isinstance(error, UnknownLayerError)]
    if layer is not None and not has_layer and about_layer:
        raise about_layer[0]
    if not built:
        raise refusals[0]


def _built(method: type[Explainer], model: keras.Model, layer: str | None, classes: int | None) -> Explainer:
    if method.takes_target and classes is None:
        raise TargetError(
            "expected a model with one output (N, classes), whose classes can be asked for; for others, explain a "
            "function of the outputs from Python. visual_backprop takes no target"
        )
    at_layer: dict[str, Any] = {"layer": layer} if layer is not None and takes_layer(method) else {}
    explainer = method(model, **at_layer)
    if at_layer and isinstance(explainer, ExcitationBackprop):  # it also takes layers that cannot be drawn
        require_height_and_width(explainer.graph, explainer.at[0], explainer.layer_path)
    return explainer
