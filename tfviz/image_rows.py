"""Build result rows: one per image, method and target, or one per failed image.

The command line, jobs and `Explainer.explain_files` build their rows with these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfviz.class_scores import Classifier, ClassScores
from tfviz.errors import ImageError, TargetError
from tfviz.images.batches import ImageBatch, read_batches
from tfviz.images.folders import find_images
from tfviz.images.preprocessing import Preprocessing, Size
from tfviz.models.labels import Labels
from tfviz.models.loading import preprocessing_for_files
from tfviz.numeric_options import positive_integer
from tfviz.render.pictures import maps_of
from tfviz.render.strength import strengths_of
from tfviz.row_columns import EXPLAINED, Row, failure, with_all_columns
from tfviz.targets import Target

if TYPE_CHECKING:
    from tfviz.methods.explainer import Explainer

_MOST_CLASSES = 5


def about_image(path: str, size: Size, scores: ClassScores | None) -> Row:
    """Return the columns shared by all of an image's rows, such as its size and top classes."""
    best = [] if scores is None else scores.ranked[:_MOST_CLASSES].tolist()
    return {
        "path": path,
        "status": EXPLAINED,
        "height": int(size[0]),
        "width": int(size[1]),
        "classes": best,
        "scores": [] if scores is None else scores.values[best].tolist(),
    }


def about_map(explainer: Explainer, target: int | None, labels: Labels) -> Row:
    """Return the columns for a map: its method, layer and class."""
    return {
        "target": target,
        "target_name": None if target is None else labels.name(target),
        "method": explainer.key,
        "layer": getattr(explainer, "layer_path", None),
    }


def about_names(row: Row, path: Path, labels: Labels, classes: int | None) -> Row:
    """Return the names of an image's top classes and, if the folder name gives it, its true class.

    Args:
        row: the image's row.
        path: the image file.
        labels: the model's class names.
        classes: the number of classes, or None if the model is not a classifier.
    """
    truth = None if classes is None else _class_of_folder(path.absolute().parent.name, labels.names, labels.wordnet_ids)
    if truth is not None and truth >= (classes or 0):
        truth = None
    return {
        "class_names": [labels.name(index) for index in row.get("classes", [])],
        "true_class": truth,
        "true_name": None if truth is None else labels.name(truth),
    }


@lru_cache(maxsize=1024)  # searching for similar names is slow
def _class_of_folder(folder: str, names: tuple[str, ...], wordnet_ids: tuple[str, ...]) -> int | None:
    return Labels(names, wordnet_ids).index_of_folder(folder)


def explain_files(
    explainer: Explainer,
    paths: str | Path | Iterable[str | Path],
    target: Target | str = None,
    *,
    batch_size: int,
    preprocessing: Preprocessing | None,
) -> Iterator[Row]:
    """Explain image files (see `Explainer.explain_files`)."""
    batch_size = positive_integer("batch_size", batch_size)
    files = [found.path for found in find_images(paths)]
    if not (target is None or callable(target) or isinstance(target, (str, int, np.integer))):
        raise TargetError(
            f"explain_files uses one target for all images. Received: {type(target).__name__}. Pass a class number or name, "
            "or a function of the outputs."
        )
    run = _FileRun(explainer, files, target, preprocessing or preprocessing_for_files(explainer.model))
    return run.rows(batch_size)


class _FileRun:
    """Runs a single call to `explain_files`."""

    def __init__(self, explainer: Explainer, files: Sequence[Path], target: Target | str, preprocessing: Preprocessing) -> None:
        named = explainer.named_target(target)
        self._targets = list(named.values()) if isinstance(named, dict) else [named]
        self._explainer, self._files, self._preprocessing = explainer, files, preprocessing
        self._classifier, self._labels = Classifier(explainer.model), explainer.labels

    def rows(self, batch_size: int) -> Iterator[Row]:
        """Yield the rows in file order."""
        failed: dict[int, Exception] = {}
        for batch in read_batches(self._files, self._preprocessing, batch_size, failed.__setitem__):
            try:
                found = self._explained(batch)
            except ImageError as error:  # the model does not support this image size
                failed |= dict.fromkeys(batch.numbers, error)
                continue
            for number, rows in zip(batch.numbers, found, strict=True):
                yield from self._failures(failed, number)
                yield from rows
        yield from self._failures(failed, len(self._files))

    def _failures(self, failed: dict[int, Exception], end: int) -> Iterator[Row]:
        for number in sorted(number for number in failed if number < end):
            yield self._row(number, failure(str(self._files[number]), failed.pop(number))) | {"map": None}

    def _row(self, number: int, row: Row) -> Row:
        return with_all_columns(row | about_names(row, self._files[number], self._labels, self._classifier.classes))

    def _explained(self, batch: ImageBatch) -> list[list[Row]]:
        """Return a list of rows for each image in the batch."""
        calls = [self._explainer.prepare_with_outputs(batch.tensors, one) for one in self._targets]
        explanations, logits = zip(*(call.run() for call in calls), strict=True)
        scores = self._classifier.scores_from(explanations[0].outputs, batch.tensors, logits[0])
        targets = [None if one.target is None else np.asarray(one.target) for one in explanations]
        attributions = [np.asarray(one.attribution) for one in explanations]
        return [self._image_rows(batch, i, scores, targets, attributions) for i in range(len(batch.numbers))]

    def _image_rows(
        self,
        batch: ImageBatch,
        i: int,
        scores: ClassScores | None,
        targets: Sequence[np.ndarray | None],
        attributions: Sequence[np.ndarray],
    ) -> list[Row]:
        number, explainer = batch.numbers[i], self._explainer
        path = str(self._files[number])
        classes = [None if one is None or not explainer.takes_target else int(one[i]) for one in targets]
        try:
            maps = maps_of([one[i] for one in attributions], count=len(attributions))
        except ImageError as error:  # the map contains NaN
            return [self._row(number, failure(path, error)) | {"map": None}]
        strengths = strengths_of(explainer.key, maps, [""] * len(maps), explainer.style, None)
        about = about_image(path, batch.images[i].shape[:2], None if scores is None else scores[i])
        return [
            self._row(number, about | about_map(explainer, target, self._labels) | {"strength": strength.value})
            | {"map": attribution[i]}
            for target, strength, attribution in zip(classes, strengths, attributions, strict=True)
        ]
