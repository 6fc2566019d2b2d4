"""Saliency: the plain gradient.

Answers: which pixels change the score most, if changed a little?

    ∂S/∂images                          Simonyan et al., 2013, "Deep Inside Convolutional Networks", section 3

One forward and one backward pass. Signed, as the gradient is; the paper draws the largest absolute value over the
channels. It misleads where a score is saturated (the gradient is small though the pixel matters), and it is noisy: single
pixels stand out for no reason that a person would see (Smilkov et al., 2017).
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.methods.gradient import GradientExplainer


class Saliency(GradientExplainer):
    """∂S/∂images, signed, (N, H, W, C). Works on any callable: it needs the gradient only, not the layers."""

    key: ClassVar[str] = "saliency"
    question: ClassVar[str] = "Which pixels change the score most, if changed a little?"
    style: ClassVar[str] = "signed"
    accepts_opaque: ClassVar[bool] = True
