"""An independent, slow reference: every rule and method in float64 NumPy, without tfviz.

It is written from the formulas, and asks Keras only for a model's architecture and weights.
`weights` is always (N, classes), the weights of the logits (one-hot for a class). Arrays are
channels last.
"""

from __future__ import annotations

from .cams import eigen_cam, eigen_grad_cam, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, xgrad_cam
from .channels import ablation_cam, combined, score_cam
from .excitation import contrastive_excitation_backprop, excitation_add, excitation_backprop, excitation_linear
from .gradients import deconvnet, deconvnet_relu, gradient, gradient_times_input, guided_backprop, guided_relu, saliency
from .masks import scale_up, visual_backprop
from .network import Network
from .noise import smooth_grad, square_grad, var_grad
from .paths import blurred, expected_gradients, integrated_gradients
from .pointwise import Relu
from .removal import occlusion, rise, rise_masks
from .scores import against, probability, score
from .windows import Window

__all__ = [
    "Network",
    "Relu",
    "Window",
    "ablation_cam",
    "against",
    "blurred",
    "combined",
    "contrastive_excitation_backprop",
    "deconvnet",
    "deconvnet_relu",
    "eigen_cam",
    "eigen_grad_cam",
    "excitation_add",
    "excitation_backprop",
    "excitation_linear",
    "expected_gradients",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "gradient_times_input",
    "guided_backprop",
    "guided_relu",
    "hires_cam",
    "integrated_gradients",
    "layer_cam",
    "occlusion",
    "probability",
    "rise",
    "rise_masks",
    "saliency",
    "scale_up",
    "score",
    "score_cam",
    "smooth_grad",
    "square_grad",
    "var_grad",
    "visual_backprop",
    "xgrad_cam",
]
