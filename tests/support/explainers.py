"""Every method, built so that a test can afford to run it."""

from __future__ import annotations

from typing import Any

import numpy as np

import tfviz
from tfviz.methods.explainer import Explainer
from tfviz.methods.perturbation import SampledExplainer

# the methods that explain any convolutional network
KEYS = tuple(key for key, cls in tfviz.METHODS.items() if not cls.needs_attention)
TARGETED = tuple(key for key in KEYS if tfviz.METHODS[key].takes_target)
SAMPLED = tuple(key for key in KEYS if issubclass(tfviz.METHODS[key], SampledExplainer))
CHANNEL_CAMS = ("score_cam", "ablation_cam")

# One method for each way to read a graph: the derivative, the two rules for ReLUs, the layer search
# with a map's gradient, both excitation passes, VisualBackProp's masks, a loop over copies, copies
# without gradients, and runs that start at a layer. If two graphs are the same to these methods,
# they are the same to all.
READERS = (
    *("saliency", "guided_backprop", "deconvnet", "grad_cam", "excitation_backprop", "contrastive_excitation_backprop"),
    *("visual_backprop", "smooth_grad", "occlusion", "ablation_cam"),
)

_FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 3},
    "expected_gradients": {"samples": 8},
    "smooth_grad": {"samples": 3},
    "square_grad": {"samples": 3},
    "var_grad": {"samples": 3},
    "occlusion": {"window": 6, "stride": 5},
    "rise": {"samples": 6, "grid": 3},
}
_FREE = (24, 20, 3)  # the size of `networks.pictures`


def options_for(key: str) -> dict[str, Any]:
    """Return the options that make a method cheap."""
    return dict(_FEW.get(key, {}))


def built(key: str, model: Any, *arguments: Any, **options: Any) -> Explainer:
    """Build an explainer with few samples, and with backgrounds if it needs them.

    Args:
        key: the key of the method.
        model: the model.
        *arguments, **options: those of the method. They take precedence.
    """
    if key == "expected_gradients" and not arguments:
        options = {"backgrounds": backgrounds_for(model)} | options
    explainer = tfviz.METHODS[key](model, *arguments, **(options_for(key) | options))
    if key == "integrated_gradients":
        explainer._has_warned_of_error = True  # few steps are inaccurate
    return explainer


def backgrounds_for(model: Any, size: tuple[int, ...] = ()) -> np.ndarray:
    """Return eight images in the size of the model, or in the given one."""
    shape = getattr(model, "input_shape", None)
    if not size and isinstance(shape, tuple) and not isinstance(shape[0], tuple):
        size = tuple(n or free for n, free in zip(shape[1:], (*_FREE, *_FREE), strict=False))
    return np.random.default_rng(7).normal(size=(8, *(size or _FREE))).astype(np.float32)
