"""Build a run's explainers and give each a unique name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from tfviz import class_scores
from tfviz.errors import OptionError
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named
from tfviz.methods.noise import NoiseExplainer
from tfviz.render.canvas import Canvas
from tfviz.render.titles import title_of
from tfviz.runs.schema import MAX_METHODS, METHOD_PATTERN, Method, Prediction, Style, shortened


@dataclass(frozen=True)
class NamedMethod:
    """An explainer with its name and title.

    The name is also used as a folder name. It is the explainer's key, such as "grad_cam", or
    "grad_cam-2" for the second explainer with that key.
    """

    name: str
    title: str
    explainer: Explainer

    def run_entry(self, canvas: Canvas) -> Method:
        """Return the explainer's entry for run.json, with the style used by the canvas."""
        layer = getattr(self.explainer, "layer_path", None)
        return {
            "name": self.name,
            "key": self.explainer.key,
            "title": shortened(self.title),
            "layer": None if layer is None else shortened(layer),
            "style": cast(Style, canvas.style(self.explainer.style)),
        }

    def predictions(self, outputs: Any) -> list[Prediction | None]:
        """Return the top class and score of each image, or None where there are no class scores."""
        return self.scores_of(None, outputs)

    def scores_of(self, classes: np.ndarray | None, outputs: Any) -> list[Prediction | None]:
        """Return the class and score of each image. If `classes` is None, use the top class."""
        found = class_scores.scores_of(classes, outputs, self.explainer.whole)
        return [None if one is None else {"class": one[0], "score": one[1]} for one in found]


def checked_explainers(explainers: Any) -> list[Explainer | str]:
    """Check the explainers and return them as a list.

    Raises:
        OptionError: there are no explainers, there are more than a run can hold, an item is neither
            an explainer nor a key, or an explainer's key is not a short name.
        UnknownMethodError: a key does not belong to any method.
    """
    given = list(explainers) if isinstance(explainers, (list, tuple)) else [explainers]
    if not given:
        raise OptionError("No explainers were given. Pass at least one explainer or method key, such as 'grad_cam'.")
    if len(given) > MAX_METHODS:
        raise OptionError(
            f"A run can have at most {MAX_METHODS} explainers. Received: {len(given)} explainers. Pass fewer explainers."
        )
    for one in given:
        if isinstance(one, str):
            method_named(one)
        elif not isinstance(one, Explainer):
            raise OptionError(
                f"Expected explainers, such as tfviz.GradCAM(model), or method keys, such as 'grad_cam'. Received: {one!r}."
            )
        elif re.fullmatch(METHOD_PATTERN, f"{one.key}-{MAX_METHODS}") is None:
            raise OptionError(f"An explainer's key must be a short name, such as 'grad_cam'. Received: {one.key!r}.")
    return given


def named_methods(given: list[Explainer | str], model: Any) -> list[NamedMethod]:
    """Build explainers of `model` for the given keys and name all explainers."""
    explainers = [method_named(one)(model) if isinstance(one, str) else one for one in given]
    titles = [_title(explainer) for explainer in explainers]
    count, seen = Counter(titles), Counter[str]()
    named = []
    for explainer, title in zip(explainers, titles, strict=True):
        key = explainer.key
        seen[key] += 1
        if count[title] > 1:
            title += f" ({getattr(explainer, 'layer_path', None) or seen[key]})"
        named.append(NamedMethod(key if seen[key] == 1 else f"{key}-{seen[key]}", title, explainer))
    return named


def _title(explainer: Explainer) -> str:
    """Return the method's title, followed by the base method's title unless it is saliency."""
    base = explainer.base.key if isinstance(explainer, NoiseExplainer) else "saliency"
    return title_of(explainer.key) if base == "saliency" else f"{title_of(explainer.key)} of {title_of(base)}"


def unrelated_model_error(model: Any, method: NamedMethod) -> OptionError | None:
    """Return an error if an explainer's model shares no weights with the trained model."""
    explained = _weights(method.explainer.model)
    if not explained or explained & _weights(model):
        return None
    return OptionError(
        f"The explainer {method.name} was built from '{method.explainer.whole.model_name}', which shares no weights with the "
        f"trained model '{model.name}', so the maps would not reflect the training. Build the explainer from the trained "
        f"model, or pass the method key '{method.explainer.key}' instead."
    )


def _weights(model: Any) -> set[int]:
    """Return the ids of a model's variables, or an empty set for a plain function."""
    if not isinstance(model, (keras.Layer, tf.Module)):
        return set()
    return {id(variable.value if isinstance(variable, keras.Variable) else variable) for variable in model.variables}
