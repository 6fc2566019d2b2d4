"""Choose the methods to run, and build their explainers for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras

from tfviz.errors import OptionError, TfvizError, UnknownLayerError
from tfviz.method_looks import MOST_ROWS_OF_ALL
from tfviz.methods import METHODS
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named, takes
from tfviz.methods.map_explainer import UNSUITABLE, map_explainer
from tfviz.methods.row_counts import rows_per_image

DEFAULT_METHODS = ("grad_cam", "guided_backprop")


def chosen_methods(names: Sequence[str] | None) -> list[type[Explainer]]:
    """Return the methods that `--method` selects, without duplicates.

    Args:
        names: method keys, or "all". None selects the default methods.

    Returns:
        The method classes.

    Raises:
        UnknownMethodError: there is no such method.
    """
    named = _named(names)
    return list(METHODS.values()) if _has_all(names) else named


def _named(names: Sequence[str] | None) -> list[type[Explainer]]:
    """Return the methods that are named individually, ignoring "all"."""
    keys = DEFAULT_METHODS if names is None else [name for name in names if name.lower() != "all"]
    return list(dict.fromkeys(map(method_named, keys)))


def _has_all(names: Sequence[str] | None) -> bool:
    return names is not None and "all" in map(str.lower, names)


def explainers_for(
    model: keras.Model,
    names: Sequence[str] | None,
    options: Mapping[str, object],
    classes: int | None,
    say: Callable[[str], None],
) -> list[Explainer]:
    """Build an explainer for the model with each chosen method.

    Methods that are named explicitly must support the model. Methods selected by "all" or by
    default are skipped with a note if they do not support the model, or if they would run it too
    many times per image. At least one method must remain. If a layer is given, one of the remaining
    methods must accept a layer.

    Args:
        model: the model.
        names: method keys, or "all". None selects the default methods.
        options: "layer" (the value of `--layer`) and "backgrounds" (the images from
            `--backgrounds`), if they were given. Each method receives the options that it accepts.
        classes: the number of classes, or None for a model that is not a classifier.
        say: a function that prints a line.

    Returns:
        The explainers.

    Raises:
        OptionError: none of the chosen methods accepts a given option, or a method needs
            backgrounds that were not given.
        UnsupportedModelError: a method cannot explain the model.
        UnknownLayerError: a method cannot use this layer.
        TargetError: a method needs a class, but the model is not a classifier.
    """
    methods = chosen_methods(names)
    _require_takers(methods, options)
    required = [] if names is None else _named(names)
    built: list[Explainer] = []
    skipped: list[TfvizError] = []
    for method in methods:
        try:
            explainer = map_explainer(method, model, options, classes)
            if method not in required:
                _require_few_rows(explainer)
            built.append(explainer)
        except UNSUITABLE as error:
            named: TfvizError = type(error)(f"{method.key}: {error}")
            if method in required:
                raise named from error
            skipped.append(named)
    _require_some(built, skipped, "layer" in options)
    for unsuitable in skipped:
        say(f"Skipped {unsuitable}")
    if slow := [f"{one.key} {rows_per_image(one)}" for one in built if one.takes_copies]:
        say(f"Note: Some methods need many forward passes per image: {', '.join(slow)}.")
    return built


def _require_few_rows(explainer: Explainer) -> None:
    if (rows := rows_per_image(explainer)) > MOST_ROWS_OF_ALL:
        raise OptionError(
            f"This method needs {rows} forward passes per image, but --method all skips methods that need more than "
            f"{MOST_ROWS_OF_ALL}. To include the method, name it: --method all,{explainer.key}."
        )


def _require_takers(methods: Sequence[type[Explainer]], options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if not any(takes(method, option) for method in methods):
            takers = ", ".join(key for key, method in METHODS.items() if takes(method, option))
            what, received = _WORDS[option], value if isinstance(value, str) else "images"
            raise OptionError(
                f"None of the chosen methods accepts {what}. Received: --{option} {received}. Omit the option, or choose a "
                f"method that accepts {what}: {takers}."
            )


_WORDS = {"layer": "a layer", "backgrounds": "backgrounds"}


def _require_some(built: Sequence[Explainer], skipped: Sequence[TfvizError], names_layer: bool) -> None:
    has_layer = any(takes(type(explainer), "layer") for explainer in built)
    layer_errors = [error for error in skipped if isinstance(error, UnknownLayerError)]
    if names_layer and not has_layer and layer_errors:
        raise layer_errors[0]
    if not built:
        raise skipped[0]
