"""One file per method, and the registry that the command line, documents and tests use."""

from __future__ import annotations

from tfviz.errors import UnknownMethodError, near_matches
from tfviz.methods.contrastive_excitation_backprop import ContrastiveExcitationBackprop
from tfviz.methods.deconvnet import Deconvnet
from tfviz.methods.excitation_backprop import ExcitationBackprop
from tfviz.methods.explainer import Explainer
from tfviz.methods.grad_cam import GradCAM
from tfviz.methods.grad_cam_plus_plus import GradCAMPlusPlus
from tfviz.methods.guided_backprop import GuidedBackprop
from tfviz.methods.guided_grad_cam import GuidedGradCAM
from tfviz.methods.hires_cam import HiResCAM
from tfviz.methods.layer_cam import LayerCAM
from tfviz.methods.saliency import Saliency
from tfviz.methods.visual_backprop import VisualBackProp

METHODS: dict[str, type[Explainer]] = {
    method.key: method
    for method in (
        Saliency,
        GuidedBackprop,
        Deconvnet,
        GradCAM,
        GradCAMPlusPlus,
        LayerCAM,
        HiResCAM,
        GuidedGradCAM,
        ExcitationBackprop,
        ContrastiveExcitationBackprop,
        VisualBackProp,
    )
}


def method_named(key: str) -> type[Explainer]:
    """Return the class for a key such as "grad_cam"; "-" counts as "_".

    Args:
        key: the key of a method, in any case.

    Returns:
        The subclass of Explainer.

    Raises:
        UnknownMethodError: there is no such method. The message lists similar names.
    """
    method = METHODS.get(str(key).strip().lower().replace("-", "_"))
    if method is None:
        raise UnknownMethodError(f"tfviz has no method {key!r}. {near_matches(str(key), METHODS)}")
    return method
