"""The explainers of a run, each under a name of its own."""

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
from tfviz.render.titles import title_of
from tfviz.runs.schema import MAX_METHODS, METHOD_PATTERN, Method, Prediction, Style, shortened


@dataclass(frozen=True)
class NamedMethod:
    """An explainer, the name of its folder ("grad_cam", "grad_cam-2" for a second one of that key), and its title."""

    name: str
    title: str
    explainer: Explainer

    def described(self) -> Method:
        """What run.json says of it."""
        layer = getattr(self.explainer, "layer_path", None)
        return {
            "name": self.name,
            "key": self.explainer.key,
            "title": shortened(self.title),
            "layer": None if layer is None else shortened(layer),
            "style": cast(Style, self.explainer.style),
        }

    def predictions(self, outputs: Any) -> list[Prediction | None]:
        """For each image the class that the model itself finds and its output there; None where it names no class."""
        return self.scores_of(None, outputs)

    def scores_of(self, classes: np.ndarray | None, outputs: Any) -> list[Prediction | None]:
        """The same for a class of each image, (N,) ints."""
        found = class_scores.scores_of(classes, outputs, self.explainer.whole)
        return [None if one is None else {"class": one[0], "score": one[1]} for one in found]


def checked_explainers(explainers: Any) -> list[Explainer | str]:
    """What was given as a list; keys are known ones.

    Raises:
        OptionError: nothing, more than a run holds, or something that is neither an explainer nor a key.
        UnknownMethodError: a key that no method has.
    """
    given = list(explainers) if isinstance(explainers, (list, tuple)) else [explainers]
    if not given:
        raise OptionError("expected one explainer or method key at least, such as 'grad_cam'; got none")
    if len(given) > MAX_METHODS:
        raise OptionError(f"expected at most {MAX_METHODS} explainers, as many as a run holds; got {len(given)}")
    for one in given:
        if isinstance(one, str):
            method_named(one)
        elif not isinstance(one, Explainer):
            raise OptionError(
                f"expected explainers, such as tfviz.GradCAM(model), or method keys, such as 'grad_cam'; got {one!r}"
            )
        elif re.fullmatch(METHOD_PATTERN, f"{one.key}-{MAX_METHODS}") is None:
            raise OptionError(f"expected explainers whose key is a short name such as 'grad_cam'; got {one.key!r}")
    return given


def named_methods(given: list[Explainer | str], model: Any) -> list[NamedMethod]:
    """Builds explainers of `model` for the keys, and gives each its name."""
    explainers = [method_named(one)(model) if isinstance(one, str) else one for one in given]
    count, seen = Counter(explainer.key for explainer in explainers), Counter[str]()
    named = []
    for explainer in explainers:
        key = explainer.key
        seen[key] += 1
        name, title = (key if seen[key] == 1 else f"{key}-{seen[key]}"), title_of(key)
        if count[key] > 1:
            title += f" ({getattr(explainer, 'layer_path', None) or seen[key]})"
        named.append(NamedMethod(name, title, explainer))
    return named


def foreign_to(model: Any, method: NamedMethod) -> OptionError | None:
    """What is to be said of an explainer of another model, none of whose weights are those of the model that is trained."""
    explained = _weights(method.explainer.model)
    if not explained or explained & _weights(model):
        return None
    return OptionError(
        f"{method.name} explains '{method.explainer.whole.model_name}', which has no weight of '{model.name}', the model that "
        f"is trained, so that its maps show nothing of this training. Build it from the model that is fitted, or give its key, "
        f"'{method.explainer.key}'."
    )


def _weights(model: Any) -> set[int]:
    """Which variables a model has; of a plain function nobody knows."""
    if not isinstance(model, (keras.Layer, tf.Module)):
        return set()
    return {id(variable.value if isinstance(variable, keras.Variable) else variable) for variable in model.variables}
