"""Explain arrays or an image file with one call."""

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
from tfviz.methods.lookup import method_named
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
    devices: str | None = None,
    **options: Any,
) -> Any:
    """Explain a model's outputs for images with one method.

    To explain many batches, create the explainer once: `tfviz.GradCAM(model)(images)`.

    Args:
        model: a keras.Model (see `Explainer`).
        images: an array of shape (N, H, W, C), preprocessed for the model, or a dataset.
        method: a key of `METHODS`, such as "grad_cam" or "excitation-backprop".
        target: what to explain (see `Explainer.__call__`). None selects each image's top class. A
            class name or "top2" also works: "top2" returns a dict {"top1": attributions, "top2":
            attributions}.
        batch_size: the maximum number of images per batch.
        verbose: 0 is silent, and 1 or "auto" shows Keras' progress bar.
        devices: "all" distributes the batches over all GPUs (see `Explainer.explain`). If None,
            TensorFlow's default device is used.
        **options: the method's options, such as layer="block5_conv3" and class_names=["cat",
            "dog"].

    Returns:
        The raw attributions, a NumPy array whose shape depends on the method.

    Raises:
        UnknownMethodError: there is no such method.
        ImageError: the images don't fit the model.
        TargetError: the target does not fit the outputs.
        OptionError: an option has an invalid value.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.explain(model, images, method="saliency", target=7).shape
        (2, 96, 96, 3)
    """
    explainer = method_named(method)(model, **options)
    return explainer.explain(images, target, batch_size=batch_size, verbose=verbose, devices=devices)


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
    """Explain one image file with one method and write the result as an image.

    Maps with the same channels as the image (guided backprop, deconvnet, guided Grad-CAM) are drawn
    without the image. They have the network's input size, and are scaled to mean 0.5 and standard
    deviation 0.1. For these maps, an image that would be stretched is instead resized by its short
    side and center-cropped. All other maps are drawn in color over the image.

    Args:
        source: an image file: JPEG, PNG, BMP, WebP or TIFF.
        destination: the file to write. Its extension determines the format.
        model: a name or file, as in `load_model`, or a keras.Model. To explain many images, load
            the model once.
        method: a key of `METHODS`, such as "guided_backprop".
        target: a class number or name. None selects the top class.
        weights, labels: as in `load_model`, unless `model` is a keras.Model.
        **options: the method's options, such as layer="conv4_block6_out".

    Returns:
        The written file's path.

    Raises:
        TfvizError: any error from `load_model`, `read_image`, the method or `write_image`.
    """
    image = read_image(source)  # first, because an invalid file should fail before the model loads
    if isinstance(model, (str, Path)):
        model = load_model(model, weights=weights, labels=labels)
    explainer = method_named(method)(model, **options)
    preprocessing, is_alone = preprocessing_for_files(model), explainer.style == "grey"
    if is_alone:
        preprocessing = _cropped(preprocessing)
    found = explainer(preprocessing.tensor(image)[None], target)
    if isinstance(found, dict):
        raise TargetError(
            f"Only one class per image can be shown. Received: target={target!r}. Explain the classes one at a time."
        )
    attribution = np.asarray(found)[0]
    if is_alone:
        return write_image(destination, standardized(attribution))
    return write_image(destination, overlay(preprocessing.picture(image), attribution, style=explainer.style))


def _cropped(preprocessing: Preprocessing) -> Preprocessing:
    """Return preprocessing that center-crops the image instead of stretching it."""
    if preprocessing.resize != "stretch" or preprocessing.size is None:
        return preprocessing
    height, width = preprocessing.size
    return replace(preprocessing, resize=f"short side {max(height, width)}, center crop {height}x{width}")
