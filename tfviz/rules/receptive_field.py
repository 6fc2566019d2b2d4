"""Reject operations that mix pixels, because a mask cannot be scaled back through them."""

from __future__ import annotations

from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Step
from tfviz.graph.operations import Contraction, Linear, Opaque, Operation


def require_one_pixel(step: Step) -> None:
    """Raise UnsupportedModelError if an opaque operation or a product mixes pixels."""
    if _mixes_pixels(step.operation):
        cause = step.operation.cause if isinstance(step.operation, Opaque) else None
        raise UnsupportedModelError(
            f"VisualBackProp cannot scale its mask back through {step.label}. The operation is opaque or a product, and each "
            "output pixel depends on several input pixels. Rebuild it from Keras layers such as Conv2D, or use a gradient "
            "method such as guided_backprop or grad_cam."
        ) from cause


def _mixes_pixels(operation: Operation) -> bool:
    if isinstance(operation, Linear):
        return operation.mixes_pixels
    if isinstance(operation, Opaque):
        return operation.contents.mixes_pixels
    return isinstance(operation, Contraction)
