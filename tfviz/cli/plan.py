"""Plan a run: the model, its preprocessing and labels, the methods, and the target classes."""

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

from tfviz.class_scores import Classifier, ClassScores
from tfviz.cli.array_files import Arrays, arrays_of
from tfviz.cli.explainers import explainers_for
from tfviz.cli.targets import ClassTargets
from tfviz.images import shown
from tfviz.images.folders import find_images
from tfviz.images.preprocessing import Preprocessing
from tfviz.methods.explainer import Explainer
from tfviz.models import PACKAGED, is_preprocessing_known, labels_of, load_images, load_model, preprocessing_of
from tfviz.models.labels import Labels

MOST_BACKGROUNDS = 64  # expected_gradients uses this many samples


@dataclass(frozen=True)
class Plan:
    """The model, methods and target classes that apply to every image in a run.

    `inputs` is the image preprocessing, or the `Arrays` that reads signals or volumes.
    """

    model_name: str
    inputs: Preprocessing | Arrays
    labels: Labels
    classifier: Classifier
    explainers: list[Explainer]
    targets: ClassTargets | None

    @property
    def preprocessing(self) -> Preprocessing:
        """The image preprocessing. A run on arrays, possible only in `tfviz explain`, has none."""
        if isinstance(self.inputs, Arrays):
            raise TypeError(f"Arrays have no preprocessing. Received: {self.inputs}. Use `inputs` instead.")
        return self.inputs

    def steps(self, scores: ClassScores | None) -> list[tuple[Explainer, list[np.ndarray | None]]]:
        """Return each method with its targets for one batch.

        Args:
            scores: the batch's scores, or None if the model is not a classifier.

        Returns:
            Pairs of an explainer and a list of its targets. Each target is an array of N classes,
            or None for a method without a target.
        """
        columns = [] if scores is None or self.targets is None else self.targets.columns(scores)
        return [(one, [*columns] if one.takes_target else [None]) for one in self.explainers]

    def scores_and_first_maps(self, tensors: np.ndarray) -> tuple[ClassScores | None, np.ndarray | None]:
        """Return a batch's class scores and, if the same pass computes them, the first maps.

        Args:
            tensors: the batch, with shape (N, H, W, C).

        Returns:
            The scores, or None if the model is not a classifier; and the first method's maps for
            its first target in `steps`, or None.

        Raises:
            ImageError: the model does not support the image size.
        """
        explainer, classifier, targets = self.explainers[0], self.classifier, self.targets
        if explainer.takes_copies or targets is None:
            return classifier.scores(tensors), None
        try:
            call = explainer.prepare_with_outputs(tensors, targets.first if explainer.takes_target else None)
            explanation, logits = call.run()
        except Exception:
            classifier.scores(tensors)  # raises ImageError for an unsuitable image size
            raise
        call.check((explanation, logits))
        return classifier.scores_from(explanation.outputs, tensors, logits), np.asarray(explanation.attribution)

    @property
    def is_top_only(self) -> bool:
        """True if only the top class is explained."""
        return self.targets is None or self.targets.is_top_only

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that the methods use, without duplicates."""
        paths = (getattr(explainer, "layer_path", "image") for explainer in self.explainers)
        return [path for path in dict.fromkeys(paths) if path != "image"]


def plan_for(args: argparse.Namespace, say: Callable[[str], None], *, allows_arrays: bool = False) -> Plan:
    """Make the plan for the command's arguments.

    Args:
        args: the parsed arguments.
        say: a function that prints a line.
        allows_arrays: whether the input may be a signal or a volume instead of an image.

    Returns:
        The plan.

    Raises:
        TfvizError: the arguments are incompatible with the model or with each other.
    """
    model = load(args.model, args.weights, preprocessing=args.preprocess, labels=args.labels, size=args.image_size)
    name = shown(Path(args.model).name)
    arrays = arrays_of(model) if allows_arrays else None
    if arrays is None and not is_preprocessing_known(model):
        say(
            f"Note: No preprocessing is known for {name}, so images are passed as RGB values in 0–255. If the model was "
            "trained on other values, pass --preprocess."
        )
    classifier = Classifier(model)
    labels = labels_of(model)
    if classifier.classes == 1 and not labels.names:
        labels = Labels(("output",))  # A single output is not a class.
    live = explainers_for(model, args.method, method_options(args, model), classifier.classes, say)
    explainers = [explainer.freeze() for explainer in live]  # a command never changes the weights
    targets = ClassTargets(args.target, labels, classifier.classes) if classifier.classes is not None else None
    inputs = arrays or preprocessing_of(model)
    if isinstance(inputs, Preprocessing) and inputs.output_size is None:
        say(
            "Note: Each image is explained at its own size, and each new size triggers a compilation. To use a single size, "
            "pass --image-size."
        )
    title = f"the {PACKAGED} network" if args.model == PACKAGED else name
    return Plan(title, inputs, labels, classifier, explainers, targets)


def load(name: str, weights: str, **options: Any) -> keras.Model:
    """Load the model given by `--model` and `--weights`, printing download progress to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        return load_model(name, weights=None if weights.lower() == "none" else weights, **options)


def method_options(args: argparse.Namespace, model: keras.Model) -> dict[str, object]:
    """Return the options for the methods: the layer and the background images, if given."""
    options: dict[str, object] = {} if args.layer is None else {"layer": args.layer}
    if args.backgrounds is not None:
        options["backgrounds"] = load_backgrounds(Path(args.backgrounds), preprocessing_of(model))
    return options


def load_backgrounds(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Load and preprocess the background images (see `background_files`)."""
    return np.asarray(load_images(background_files(path), preprocessing))


def background_files(path: Path) -> list[Path]:
    """Return at most 64 evenly spaced image files from the `--backgrounds` path."""
    files = [found.path for found in find_images([path])]
    chosen = np.unique(np.linspace(0, len(files) - 1, MOST_BACKGROUNDS).round().astype(int))
    return [files[i] for i in chosen]
