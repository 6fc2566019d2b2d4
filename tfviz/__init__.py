"""tfviz: see what a convolutional network looks at.

    explainer = tfviz.GradCAM(model, layer="block5_conv3")
    attribution = explainer(images, target=281)
    picture = tfviz.overlay(images, attribution)

Importing tfviz is cheap: TensorFlow is imported at the first use of a name that needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "tfviz.methods": (
        "METHODS",
        "Saliency",
        "GuidedBackprop",
        "Deconvnet",
        "GradCAM",
        "GradCAMPlusPlus",
        "LayerCAM",
        "HiResCAM",
        "GuidedGradCAM",
        "ExcitationBackprop",
        "ContrastiveExcitationBackprop",
        "VisualBackProp",
    ),
    "tfviz.methods.visual_backprop_model": ("with_visual_backprop",),
    "tfviz.targets": ("At",),
    "tfviz.snapshots.callback": ("SnapshotCallback",),
    "tfviz.snapshots.faults": ("SnapshotWarning",),
    "tfviz.snapshots.sinks": ("Sink",),
    "tfviz.export": ("load_explainer",),
    "tfviz.film.film": ("write_film",),
    "tfviz.explanations": ("explain", "explain_file"),
    "tfviz.render": ("overlay", "plot", "contact_sheet"),
    "tfviz.models": ("load_model", "load_images"),
    "tfviz.images.preprocessing": ("Preprocessing",),
    "tfviz.images": ("read_image", "write_image"),
    "tfviz.errors": (
        "TfvizError",
        "UnsupportedModelError",
        "UnknownLayerError",
        "UnknownMethodError",
        "TargetError",
        "OptionError",
        "ImageError",
        "WeightsError",
        "LabelsError",
        "OutputError",
        "ExportError",
        "SnapshotsError",
        "MissingPackageError",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME_OF), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tfviz' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
