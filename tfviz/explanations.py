"""One call to explain: arrays, or an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfviz.errors import TargetError
from tfviz.images.files import read_image, write_image
from tfviz.images.preprocessing import Preprocessing
from tfviz.methods import method_named
from tfviz.models.labels import Labels
from tfviz.models.loading import load_model, preprocessing_for_files
from tfviz.render import overlay, standardized
from tfviz.targets import Target


def explain(
    model: keras.Model,
    images: Any,
    method: str = "grad_cam",
    target: Target | str = None,
    *,
    batch_size: int = 32,
    verbose: int | str = 0,
    **options: Any,
) -> Any:
    """Explains a model's outputs on images by one method.

    Args:
        model: a keras.Model (see `Explainer`).
        images: an array (N, H, W, C) as the model takes it, or a dataset.
        method: a key of `METHODS`, such as "grad_cam" or "excitation-backprop".
        target: what is explained (see `Explainer.__call__`); None is the top class of each image. The name of a class or
            "top2" will do: for "top2" a dict {"top1": attributions, "top2": attributions} is returned.
        batch_size: the most images that are run at once.
        verbose: 0 is silent; 1 or "auto" shows Keras' progress bar.
        **options: the method's own, such as layer="block5_conv3", and class_names=["cat", "dog"].

    Returns:
        The raw attributions, a NumPy array; the shape is the method's.

    To explain many batches by one method, build the explainer once: `tfviz.GradCAM(model)(images)`.
    """
    return method_named(method)(model, **options).explain(images, target, batch_size=batch_size, verbose=verbose)


def explain_file(
    source: str | Path,
    destination: str | Path,
    *,
    model: keras.Model | str | Path = "shapes",
    method: str = "grad_cam",
    target: int | str | None = None,
    weights: str | Path | None = "imagenet",
    labels: Labels | Sequence[str] | str | Path | None = None,
    **options: Any,
) -> Path:
    """Explains one image by one method, and writes the result as a picture.

    Maps with the channels of the image (guided backprop, deconvnet, guided Grad-CAM) are drawn by themselves, at the
    network's input size, with mean 0.5 and standard deviation 0.1. If the network would stretch its images, the central
    part of this one is taken, its short side at the network's size. All other maps are drawn in color over the image.

    Args:
        source: an image file: JPEG, PNG, BMP, WebP or TIFF.
        destination: the file to write; its extension decides the format.
        model: a name or a file, as for `load_model`, or a keras.Model; to explain many images, load it once.
        method: a key of `METHODS`, such as "guided_backprop".
        target: the number or the name of a class; None is the top class.
        weights, labels: as for `load_model`, unless `model` is a keras.Model.
        **options: the method's own, such as layer="conv4_block6_out".

    Returns: the path of the file that was written.

    Raises: what `load_model`, `read_image`, the method and `write_image` raise.
    """
    image = read_image(source)  # before seconds are spent on the network
    if isinstance(model, (str, Path)):
        model = load_model(model, weights=weights, labels=labels)
    explainer = method_named(method)(model, **options)
    preprocessing, is_alone = preprocessing_for_files(model), explainer.style == "grey"
    if is_alone:
        preprocessing = _cropped(preprocessing)
    found = explainer(preprocessing.tensor(image)[None], target)
    if isinstance(found, dict):
        raise TargetError(f"Expected one class to explain in one picture, got {target!r}. Explain one after the other.")
    attribution = np.asarray(found)[0]
    if is_alone:
        return write_image(destination, standardized(attribution))
    return write_image(destination, overlay(preprocessing.picture(image), attribution, style=explainer.style))


def _cropped(preprocessing: Preprocessing) -> Preprocessing:
    """The same, with the central part of the image instead of all of it stretched."""
    if preprocessing.resize != "stretch" or preprocessing.size is None:
        return preprocessing
    height, width = preprocessing.size
    return replace(preprocessing, resize=f"short side {max(height, width)}, centre crop {height}x{width}")
