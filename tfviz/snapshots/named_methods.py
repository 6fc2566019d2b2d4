"""The explainers of a run, each under a name of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfviz import class_scores
from tfviz.errors import OptionError
from tfviz.methods import method_named
from tfviz.methods.explainer import Explainer
from tfviz.render.titles import title_of


@dataclass(frozen=True)
class NamedMethod:
    """An explainer, the name of its folder ("grad_cam", "grad_cam-2" for a second one of that key), and its title."""

    name: str
    title: str
    explainer: Explainer

    def described(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "name": self.name,
            "key": self.explainer.key,
            "title": self.title,
            "layer": getattr(self.explainer, "layer_path", None),
            "style": self.explainer.style,
        }

    def predictions(self, outputs: Any) -> list[dict[str, Any] | None]:
        """For each image the class that the model itself finds and its output there; None where it names no class."""
        found = class_scores.predictions(outputs, self.explainer.whole)
        return [None if one is None else {"class": one[0], "score": one[1]} for one in found]


def checked_explainers(explainers: Any) -> list[Explainer | str]:
    """What was given as a list; keys are known ones.

    Raises:
        OptionError: nothing, or something that is neither an explainer nor a key.
        UnknownMethodError: a key that no method has.
    """
    given = list(explainers) if isinstance(explainers, (list, tuple)) else [explainers]
    if not given:
        raise OptionError("expected one explainer or method key at least, such as 'grad_cam'; got none")
    for one in given:
        if isinstance(one, str):
            method_named(one)
        elif not isinstance(one, Explainer):
            raise OptionError(
                f"expected explainers, such as tfviz.GradCAM(model), or method keys, such as 'grad_cam'; got {one!r}"
            )
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
