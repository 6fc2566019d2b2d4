"""One call from a picture's file to the file of its explanation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import TargetError
from tfviz.images import read_image, write_image
from tfviz.methods import method_named
from tfviz.models import labels_of, load_model, preprocessing_of
from tfviz.preprocessing import Preprocessing
from tfviz.render import overlay, standardized


def explain_file(
    source: str | Path,
    destination: str | Path,
    *,
    model: Any = "shapes",
    method: str = "grad_cam",
    target: int | str | None = None,
    weights: str | Path | None = "imagenet",
    labels: Any = None,
    **options: Any,
) -> Path:
    """Explains one picture by one method, and writes the result as a picture.

    Maps with the image's own channels (guided backprop, deconvnet, guided Grad-CAM) are drawn by themselves, at the
    network's own size: mean 0.5, deviation 0.1. A network that would stretch its pictures gets the central part of this
    one, its short side at the network's size. All other maps are drawn in colour over the picture.

    Args:
        source: a picture: JPEG, PNG, BMP, WebP or TIFF.
        destination: the file to write; its ending says in which format.
        model: a name or a file, as for `load_model`, or a keras.Model; to explain many pictures, load it once.
        method: a key of `METHODS`, such as "guided_backprop".
        target: the number or the name of a class; None is the top class.
        weights, labels: as for `load_model`, unless `model` is a keras.Model.
        **options: the method's own, such as layer="conv4_block6_out".

    Returns: the path of the file that was written.

    Raises: what `load_model`, `read_image`, the method and `write_image` raise.
    """
    picture = read_image(source)  # before some seconds are spent on the network
    if isinstance(model, (str, Path)):
        model = load_model(model, weights=weights, labels=labels)
    explainer = method_named(method)(model, **options)
    preprocessing, is_alone = preprocessing_of(model), explainer.style == "grey"
    if is_alone:
        preprocessing = _cropped(preprocessing)
    attribution = np.asarray(explainer(preprocessing.tensor(picture)[None], _class(model, explainer, target)))[0]
    if is_alone:
        return write_image(destination, standardized(attribution))
    return write_image(destination, overlay(preprocessing.picture(picture), attribution, style=explainer.style))


def _cropped(preprocessing: Preprocessing) -> Preprocessing:
    """The same, but for the central part of the picture in place of all of it stretched."""
    if preprocessing.resize != "stretch" or preprocessing.size is None:
        return preprocessing
    height, width = preprocessing.size
    return replace(preprocessing, resize=f"short side {max(height, width)}, centre crop {height}x{width}")


def _class(model: Any, explainer: Any, target: int | str | None) -> int | None:
    if target is None:
        return None
    if not explainer.takes_target:
        raise TargetError(f"{explainer.key} explains no single class and takes no target; got {target!r}")
    return labels_of(model).index(target)
