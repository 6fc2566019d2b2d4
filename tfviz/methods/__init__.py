"""The registry of all methods.

To add a method, create a module for it in this folder, then import the method's class below and add
the class to the registry. The public names (such as `tfviz.GradCAM`), the command line, the gallery
and the tests take their methods from the registry, in the same order.
"""

from __future__ import annotations

from tfviz.methods.ablation_cam import AblationCAM as AblationCAM
from tfviz.methods.attention_rollout import AttentionRollout as AttentionRollout
from tfviz.methods.contrastive_excitation_backprop import ContrastiveExcitationBackprop as ContrastiveExcitationBackprop
from tfviz.methods.deconvnet import Deconvnet as Deconvnet
from tfviz.methods.eigen_cam import EigenCAM as EigenCAM
from tfviz.methods.eigen_grad_cam import EigenGradCAM as EigenGradCAM
from tfviz.methods.excitation_backprop import ExcitationBackprop as ExcitationBackprop
from tfviz.methods.expected_gradients import ExpectedGradients as ExpectedGradients
from tfviz.methods.grad_cam import GradCAM as GradCAM
from tfviz.methods.grad_cam_plus_plus import GradCAMPlusPlus as GradCAMPlusPlus
from tfviz.methods.gradient_attention import GradientAttention as GradientAttention
from tfviz.methods.gradient_times_input import GradientTimesInput as GradientTimesInput
from tfviz.methods.guided_backprop import GuidedBackprop as GuidedBackprop
from tfviz.methods.guided_grad_cam import GuidedGradCAM as GuidedGradCAM
from tfviz.methods.hires_cam import HiResCAM as HiResCAM
from tfviz.methods.integrated_gradients import IntegratedGradients as IntegratedGradients
from tfviz.methods.layer_cam import LayerCAM as LayerCAM
from tfviz.methods.legrad import LeGrad as LeGrad
from tfviz.methods.lookup import METHODS as METHODS
from tfviz.methods.occlusion import Occlusion as Occlusion
from tfviz.methods.rise import RISE as RISE
from tfviz.methods.saliency import Saliency as Saliency
from tfviz.methods.score_cam import ScoreCAM as ScoreCAM
from tfviz.methods.smooth_grad import SmoothGrad as SmoothGrad
from tfviz.methods.square_grad import SquareGrad as SquareGrad
from tfviz.methods.var_grad import VarGrad as VarGrad
from tfviz.methods.visual_backprop import VisualBackProp as VisualBackProp
from tfviz.methods.xgrad_cam import XGradCAM as XGradCAM

METHODS.update(
    {
        method.key: method
        for method in (
            Saliency,
            GradientTimesInput,
            IntegratedGradients,
            ExpectedGradients,
            SmoothGrad,
            SquareGrad,
            VarGrad,
            GuidedBackprop,
            Deconvnet,
            GradCAM,
            GradCAMPlusPlus,
            LayerCAM,
            HiResCAM,
            XGradCAM,
            ScoreCAM,
            AblationCAM,
            EigenCAM,
            EigenGradCAM,
            GuidedGradCAM,
            ExcitationBackprop,
            ContrastiveExcitationBackprop,
            VisualBackProp,
            AttentionRollout,
            GradientAttention,
            LeGrad,
            Occlusion,
            RISE,
        )
    }
)
