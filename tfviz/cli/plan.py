"""What is run on every image: the model, its preprocessing and labels, the methods, the classes."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfviz.class_scores import Classifier
from tfviz.cli.explainers import explainers_for
from tfviz.cli.targets import ClassTargets
from tfviz.images import shown
from tfviz.images.preprocessing import Preprocessing
from tfviz.methods.explainer import Explainer
from tfviz.models import PACKAGED, is_preprocessing_known, labels_of, load_model, preprocessing_of
from tfviz.models.labels import Labels


@dataclass(frozen=True)
class Plan:
    """Everything that the images have in common."""

    model_name: str
    preprocessing: Preprocessing
    labels: Labels
    classifier: Classifier
    explainers: list[Explainer]
    targets: ClassTargets | None

    def steps(self, scores: np.ndarray | None) -> list[tuple[Explainer, list[np.ndarray | None]]]:
        """Each method with all its targets, (N,) classes or None, for a batch with these scores (N, classes)."""
        columns = [] if scores is None or self.targets is None else self.targets.columns(scores)
        return [(one, [*columns] if one.takes_target else [None]) for one in self.explainers]

    @property
    def is_top_only(self) -> bool:
        """Whether the highest class alone is explained."""
        return self.targets is None or self.targets.is_top_only

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that are looked at."""
        paths = (getattr(explainer, "layer_path", "image") for explainer in self.explainers)
        return [path for path in dict.fromkeys(paths) if path != "image"]


def plan_for(args: argparse.Namespace, say: Callable[[str], None]) -> Plan:
    """The plan for the typed options; `say` gets the remarks. Raises TfvizError for what does not go together."""
    model = load(args.model, args.weights, preprocessing=args.preprocess, labels=args.labels, size=args.image_size)
    name = shown(Path(args.model).name)
    if not is_preprocessing_known(model):
        say(
            f"Note: no preprocessing is known for {name}; images are fed as RGB in 0..255. If it was trained on other "
            "values, pass --preprocess."
        )
    classifier = Classifier(model)
    labels = labels_of(model)
    if classifier.classes == 1 and not labels.names:
        labels = Labels(("output",))  # one number is no class
    explainers = explainers_for(model, args.method, args.layer, classifier.classes, say)
    targets = ClassTargets(args.target, labels, classifier.classes) if classifier.classes is not None else None
    preprocessing = preprocessing_of(model)
    if preprocessing.output_size is None:
        say("Note: each image is explained at its own size, and each new size is compiled for; --image-size sets one.")
    title = f"the {PACKAGED} network" if args.model == PACKAGED else name
    return Plan(title, preprocessing, labels, classifier, explainers, targets)


def load(name: str, weights: str, **options: Any) -> keras.Model:
    """The model for `--model` and `--weights`; the progress of a download goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        return load_model(name, weights=None if weights.lower() == "none" else weights, **options)
