"""tfviz shows what a convolutional network looks at.

Explain a prediction and draw the result over the images:

    explainer = tfviz.GradCAM(model, layer="block5_conv3")
    attribution = explainer(images, target=281)
    picture = tfviz.overlay(images, attribution)

Importing tfviz is fast, because TensorFlow is imported only when a name that needs it is first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # For editors and type checkers. Python uses the table below.
    from tfviz.against import Against as Against
    from tfviz.errors import ExportError as ExportError
    from tfviz.errors import ImageError as ImageError
    from tfviz.errors import JobError as JobError
    from tfviz.errors import LabelsError as LabelsError
    from tfviz.errors import MissingPackageError as MissingPackageError
    from tfviz.errors import OptionError as OptionError
    from tfviz.errors import OutputError as OutputError
    from tfviz.errors import SnapshotsError as SnapshotsError
    from tfviz.errors import TargetError as TargetError
    from tfviz.errors import TfvizError as TfvizError
    from tfviz.errors import UnknownLayerError as UnknownLayerError
    from tfviz.errors import UnknownMethodError as UnknownMethodError
    from tfviz.errors import UnsupportedModelError as UnsupportedModelError
    from tfviz.errors import WeightsError as WeightsError
    from tfviz.explanations import explain as explain
    from tfviz.explanations import explain_file as explain_file
    from tfviz.export import load_explainer as load_explainer
    from tfviz.film.film import write_film as write_film
    from tfviz.images import read_image as read_image
    from tfviz.images import write_image as write_image
    from tfviz.images.preprocessing import Preprocessing as Preprocessing
    from tfviz.methods import *  # noqa: F403 - the classes of the registry
    from tfviz.methods.visual_backprop_model import with_visual_backprop as with_visual_backprop
    from tfviz.metrics import METRICS as METRICS
    from tfviz.metrics.evaluation import Evaluation as Evaluation
    from tfviz.metrics.evaluation import evaluate as evaluate
    from tfviz.metrics.sanity import sanity_check as sanity_check
    from tfviz.metrics.sanity_result import SanityCheck as SanityCheck
    from tfviz.models import load_images as load_images
    from tfviz.models import load_model as load_model
    from tfviz.render import contact_sheet as contact_sheet
    from tfviz.render import overlay as overlay
    from tfviz.render import plot as plot
    from tfviz.render import show as show
    from tfviz.snapshots.callback import SnapshotCallback as SnapshotCallback
    from tfviz.snapshots.faults import SnapshotWarning as SnapshotWarning
    from tfviz.snapshots.image_choice import images_from as images_from
    from tfviz.snapshots.sinks import *  # noqa: F403 - the classes of the registry
    from tfviz.target_functions.detection import Detection as Detection
    from tfviz.target_functions.reconstruction import ReconstructionError as ReconstructionError
    from tfviz.target_functions.similarity import Similarity as Similarity
    from tfviz.targets import At as At

__version__ = "0.2.0"

_HOMES = {
    "tfviz.methods": ("METHODS",),
    "tfviz.methods.visual_backprop_model": ("with_visual_backprop",),
    "tfviz.metrics": ("METRICS",),
    "tfviz.metrics.evaluation": ("Evaluation", "evaluate"),
    "tfviz.targets": ("At",),
    "tfviz.against": ("Against",),
    "tfviz.target_functions.detection": ("Detection",),
    "tfviz.target_functions.reconstruction": ("ReconstructionError",),
    "tfviz.target_functions.similarity": ("Similarity",),
    "tfviz.snapshots.callback": ("SnapshotCallback",),
    "tfviz.snapshots.image_choice": ("images_from",),
    "tfviz.snapshots.faults": ("SnapshotWarning",),
    "tfviz.snapshots.sinks": ("SINKS", "Sink"),
    "tfviz.export": ("load_explainer",),
    "tfviz.film.film": ("write_film",),
    "tfviz.explanations": ("explain", "explain_file"),
    "tfviz.metrics.sanity": ("sanity_check",),
    "tfviz.metrics.sanity_result": ("SanityCheck",),
    "tfviz.render": ("overlay", "plot", "show", "contact_sheet"),
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
        "JobError",
        "SnapshotsError",
        "MissingPackageError",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def _names() -> list[str]:
    return [*sorted([*_HOME_OF, *_registered()]), "__version__"]


def _registered() -> dict[str, type]:
    """Return the registered classes, keyed by name. Importing them imports TensorFlow."""
    registries = [importlib.import_module("tfviz.methods").METHODS, importlib.import_module("tfviz.snapshots.sinks").SINKS]
    return {cls.__name__: cls for registry in registries for cls in registry.values()}


if not TYPE_CHECKING:  # A type checker would assume that any name exists.

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return _names()
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name[:1].isupper() and name in (classes := _registered()):
            value = classes[name]
        else:
            raise AttributeError(f"module 'tfviz' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return _names()
