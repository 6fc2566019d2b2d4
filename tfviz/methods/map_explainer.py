"""Build an explainer whose maps can be drawn, for the command line and the explorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfviz.errors import OptionError, TargetError, UnknownLayerError, UnsupportedModelError
from tfviz.graph.layer_search import require_height_and_width
from tfviz.methods.excitation_backprop import ExcitationBackprop
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import takes

# The errors that a method raises if it cannot explain a model.
UNSUITABLE = (UnsupportedModelError, UnknownLayerError, TargetError, OptionError)


def map_explainer(method: type[Explainer], model: keras.Model, options: Mapping[str, object], classes: int | None) -> Explainer:
    """Build an explainer for a model.

    Args:
        method: the method's class.
        model: the model.
        options: the options "layer" and "backgrounds", if given. Options that the method does not
            accept are ignored.
        classes: the number of classes, or None for a model that is not a classifier.

    Returns:
        The explainer.

    Raises:
        UnsupportedModelError: the method cannot explain the model.
        UnknownLayerError: the method cannot use this layer, or the layer's map cannot be drawn.
        TargetError: the method needs a class, but the model is not a classifier.
        OptionError: the method needs backgrounds.
    """
    if method.takes_target and classes is None:
        raise TargetError(
            "The model is not a classifier with one output (N, classes), so it has no classes to explain. Use visual_backprop, "
            "which needs no target. In Python, you can also pass a function of the outputs as the target."
        )
    if takes(method, "backgrounds") and "backgrounds" not in options:
        raise OptionError(
            "This method compares the image with typical images. Pass a folder with at least 8 of them: --backgrounds PATH."
        )
    given: dict[str, Any] = {name: value for name, value in options.items() if takes(method, name)}
    explainer = method(model, **given)
    # Excitation backprop also accepts layers whose maps cannot be drawn.
    if "layer" in given and isinstance(explainer, ExcitationBackprop):
        require_height_and_width(explainer.graph, explainer.at[0], explainer.layer_path)
    return explainer
