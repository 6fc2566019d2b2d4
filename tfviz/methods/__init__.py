"""The registry of methods.

To add a method, add its file to this folder, and its import and row here. The public names such as
`tfviz.GradCAM`, the command line, the gallery and the tests follow the registry, in its order.
"""

from __future__ import annotations

from tfviz.methods.attention_rollout import AttentionRollout as AttentionRollout
from tfviz.methods.contrastive_excitation_backprop import ContrastiveExcitationBackprop as ContrastiveExcitationBackprop
from tfviz.methods.deconvnet import Deconvnet as Deconvnet
from tfviz.methods.eigen_cam import EigenCAM as EigenCAM
from tfviz.methods.eigen_grad_cam import EigenGradCAM as EigenGradCAM
from tfviz.methods.excitation_backprop import ExcitationBackprop as ExcitationBackprop
from tfviz.methods.explainer import Explainer
from tfviz.methods.grad_cam import GradCAM as GradCAM
from tfviz.methods.grad_cam_plus_plus import GradCAMPlusPlus as GradCAMPlusPlus
from tfviz.methods.gradient_attention import GradientAttention as GradientAttention
from tfviz.methods.gradient_times_input import GradientTimesInput as GradientTimesInput
from tfviz.methods.guided_backprop import GuidedBackprop as GuidedBackprop
from tfviz.methods.guided_grad_cam import GuidedGradCAM as GuidedGradCAM
from tfviz.methods.hires_cam import HiResCAM as HiResCAM
from tfviz.methods.layer_cam import LayerCAM as LayerCAM
from tfviz.methods.legrad import LeGrad as LeGrad
from tfviz.methods.saliency import Saliency as Saliency
from tfviz.methods.visual_backprop import VisualBackProp as VisualBackProp
from tfviz.methods.xgrad_cam import XGradCAM as XGradCAM

METHODS: dict[str, type[Explainer]] = {
    method.key: method
    for method in (
        Saliency,
        GradientTimesInput,
        GuidedBackprop,
        Deconvnet,
        GradCAM,
        GradCAMPlusPlus,
        LayerCAM,
        HiResCAM,
        XGradCAM,
        EigenCAM,
        EigenGradCAM,
        GuidedGradCAM,
        ExcitationBackprop,
        ContrastiveExcitationBackprop,
        VisualBackProp,
        AttentionRollout,
        GradientAttention,
        LeGrad,
    )
}
