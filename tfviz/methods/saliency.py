"""Saliency: the plain gradient of the score with respect to the image.

Question: which pixels change the score most when changed slightly?

    ∂S/∂images
        Simonyan et al., 2013, "Deep Inside Convolutional Networks", section 3

The cost is one forward and one backward pass. The result is signed; the paper shows the largest
absolute value over the channels. If the score is saturated, the gradient is small even for pixels
that matter. The gradient is also noisy: single pixels stand out for no visible reason (Smilkov et
al., 2017).
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.methods.gradient import GradientExplainer


class Saliency(GradientExplainer):
    """The score's gradient with respect to the image: which pixels change the score most?

    The map is ∂S/∂images (Simonyan et al., 2013, "Deep Inside Convolutional Networks", section 3).

    Calling the explainer returns a signed attribution of shape (N, H, W, C). Saliency works on any
    callable model, because it needs only the gradient.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.Saliency(model)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "saliency"
    question: ClassVar[str] = "Which pixels change the score most when changed slightly?"
    style: ClassVar[str] = "signed"
    accepts_opaque: ClassVar[bool] = True
