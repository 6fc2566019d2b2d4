"""Define the sources of evaluated maps: methods, user-defined explainers and controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from tfviz.errors import OptionError, UnknownLayerError, UnsupportedModelError
from tfviz.method_looks import MOST_ROWS_OF_ALL
from tfviz.methods import METHODS
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named
from tfviz.methods.row_counts import rows_per_image
from tfviz.metrics.controls import ControlMap
from tfviz.metrics.pixel_maps import PixelMap, pixel_maps

# images (N, H, W, C), classes (N,) -> attributions (N, h, w) or (N, H, W, channels)
MapFunction = Callable[..., npt.ArrayLike]
Method: TypeAlias = "str | Explainer | MapFunction"
Methods: TypeAlias = "Method | Sequence[Method] | Mapping[str, Method]"

ALL = "all"
# The errors that a method raises if it does not support a model.
UNSUPPORTED = (UnsupportedModelError, UnknownLayerError, OptionError)


@dataclass(frozen=True)
class Source:
    """A named source of maps.

    Attributes:
        name: the name used in tables.
        layer: the path to the explained layer; None if the source has no layer.
        maps: a function that takes images of shape (N, H, W, C) and N classes, and returns one map
            per image.
        takes_target: whether the maps depend on the class.
        is_control: whether the source is a control, which does not depend on the network.
        may_fail: whether the source is skipped with a note if it does not support the model.
    """

    name: str
    layer: str | None
    maps: Callable[[np.ndarray, np.ndarray], list[PixelMap]]
    takes_target: bool = True
    is_control: bool = False
    may_fail: bool = False


def sources_of(
    model: keras.Model, methods: Methods, *, output: str | int | None = None, reduce: str = "sum"
) -> tuple[list[Source], list[str]]:
    """Build the sources for the selected methods.

    Args:
        model: the model.
        methods: "all", a key, an explainer, a function of images and classes, a list of these, or
            a dict that maps names to these.
        output: the model output to explain, for methods given by key.
        reduce: how channels are combined into one map (see `pixel_maps`).

    Returns:
        The sources, and a note for each skipped method in "all".

    Raises:
        UnknownMethodError: there is no such method.
        UnsupportedModelError: an explicitly named method does not support the model.
        OptionError: no method supports the model, or an element is not a method.
    """
    sources, notes = [], []
    for name, method, may_fail in _listed(methods):
        try:
            explainer = _named(model, method, output, may_fail) if isinstance(method, str) else method
        except UNSUPPORTED as error:
            if not may_fail:
                raise
            notes.append(note_of(name, error))
            continue
        sources.append(_source(model, name, explainer, reduce, may_fail))
    if not sources:
        raise OptionError(f"Expected at least one method that supports the model. Received: methods={methods!r}.")
    return sources, notes


def _named(model: keras.Model, key: str, output: str | int | None, is_of_all: bool) -> Explainer:
    explainer = method_named(key)(model, output=output)
    if is_of_all and (rows := rows_per_image(explainer)) > MOST_ROWS_OF_ALL:
        raise OptionError(
            f'This method needs {rows} forward passes per image, but "all" skips methods that need more than '
            f'{MOST_ROWS_OF_ALL}. To include the method, pass methods=["all", "{explainer.key}"].'
        )
    return explainer.freeze()  # an evaluation does not change the weights


def note_of(name: str, error: Exception) -> str:
    """Format the note about a skipped method."""
    return f"{name} was skipped: {error}"


def control(name: str, map_of: ControlMap, permutation: np.ndarray) -> Source:
    """Build the source for a control map."""

    def maps(images: np.ndarray, targets: np.ndarray) -> list[PixelMap]:
        return [map_of(image, permutation) for image in images]

    return Source(name, None, maps, takes_target=False, is_control=True)


def _listed(methods: Methods) -> Iterable[tuple[str, Method, bool]]:
    """Yield the name of each method, the method itself, and whether it may fail."""
    if isinstance(methods, Mapping):
        yield from ((str(name), method, False) for name, method in methods.items())
        return
    for method in methods if isinstance(methods, Sequence) and not isinstance(methods, str) else [methods]:
        if isinstance(method, str) and method.strip().lower() == ALL:
            yield from ((key, key, True) for key in METHODS)
        elif isinstance(method, str):
            yield method_named(method).key, method, False
        else:
            yield str(getattr(method, "key", None) or getattr(method, "__name__", type(method).__name__)), method, False


def _source(model: keras.Model, name: str, explainer: Method, reduce: str, may_fail: bool) -> Source:
    if not callable(explainer) or isinstance(explainer, type):
        raise OptionError(
            f"{name!r} must be a method key, an explainer, or a function of images and classes. Received: {explainer!r}. "
            "Create the explainer first, for example tfviz.GradCAM(model)."
        )
    if isinstance(explainer, Explainer) and explainer.model is not model:
        raise OptionError(
            f"The explainer {name!r} explains a different model, {explainer.model.name!r}. Create an explainer for the "
            "evaluated model."
        )
    takes_target = bool(getattr(explainer, "takes_target", True))

    def maps(images: np.ndarray, targets: np.ndarray) -> list[PixelMap]:
        attributions = _attributions(explainer, images, targets if takes_target else None)
        return _checked(name, attributions, len(images), reduce)

    return Source(name, getattr(explainer, "layer_path", None), maps, takes_target, may_fail=may_fail)


def _attributions(explainer: Explainer | MapFunction, images: np.ndarray, targets: np.ndarray | None) -> npt.ArrayLike:
    if isinstance(explainer, Explainer):  # no warning for blank maps; the table counts them
        return explainer.prepare(images, targets).run()
    return explainer(images) if targets is None else explainer(images, targets)


def _checked(name: str, attributions: npt.ArrayLike, count: int, reduce: str) -> list[PixelMap]:
    try:
        maps = pixel_maps(attributions, reduce)
    except OptionError as error:
        raise OptionError(f"The attributions of {name!r} cannot be evaluated. {error}") from error
    if len(maps) != count:
        raise OptionError(
            f"{name!r} must return one map per image. Received: {len(maps)} maps for {count} images. Return an array (N, h, w)."
        )
    return maps


def require_distinct(sources: Sequence[Source]) -> None:
    """Raise an OptionError if two sources have the same name and layer."""
    known = set()
    for source in sources:
        if (source.name, source.layer) in known:
            raise OptionError(
                f"Two methods have the same name, {source.name!r}. Pass a dict with a unique name for each explainer."
            )
        known.add((source.name, source.layer))
