"""One call from a model and images to attributions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfviz.methods import method_named


def explain(
    model: Any,
    images: Any,
    method: str = "grad_cam",
    target: Any = None,
    *,
    batch_size: int = 32,
    verbose: int | str = 0,
    **options: Any,
) -> np.ndarray:
    """Explains a model's outputs on images by one method.

    Args:
        model: a keras.Model (see `Explainer`).
        images: an array (N, H, W, C) as the model takes it, or a dataset.
        method: a key of `METHODS`, such as "grad_cam" or "excitation-backprop".
        target: what is explained (see `Explainer.__call__`); None is the top class of each image.
        batch_size: the most images that are run at once.
        verbose: 0 is silent; 1 or "auto" shows Keras' progress bar.
        **options: the method's own, such as layer="block5_conv3".

    Returns:
        The raw attributions, a NumPy array; the shape is the method's.

    To explain many batches by one method, build the explainer once: `tfviz.GradCAM(model)(images)`.
    """
    return method_named(method)(model, **options).explain(images, target, batch_size=batch_size, verbose=verbose)
