"""`--target`: which classes are explained for each image."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tfviz.class_scores import ranked_classes
from tfviz.errors import TargetError
from tfviz.models.labels import Labels


class ClassTargets:
    """The classes that were asked for, some by their rank ("top", "top3") and some by number or name.

    Raises TargetError for a name that no class has, a number or rank beyond the model's classes.
    """

    def __init__(self, words: Sequence[str], labels: Labels, classes: int) -> None:
        self.is_top_only = [word.lower() for word in words] in (["top"], ["top1"])
        targets: dict[tuple[str, int], None] = {}
        for word in words:
            rank = re.fullmatch(r"top(\d*)", word.lower())
            if rank:
                targets.update({("rank", i): None for i in range(_ranks(word, rank[1], classes))})
            else:
                targets["class", _class(word, labels, classes)] = None
        self._targets = list(targets)

    def columns(self, scores: np.ndarray) -> list[np.ndarray]:
        """One array (N,) int32 of classes for each class or rank asked for; scores: (N, classes)."""
        ranked = ranked_classes(scores)
        return [
            ranked[:, number] if kind == "rank" else np.full(len(scores), number, np.int32) for kind, number in self._targets
        ]


def _ranks(word: str, number: str, classes: int) -> int:
    ranks = int(number or 1)
    if not 1 <= ranks <= classes:
        raise TargetError(f"--target {word}: expected top1 to top{classes}, for the model has {classes} classes.")
    return ranks


def _class(word: str, labels: Labels, classes: int) -> int:
    index = labels.index(word)
    if not 0 <= index < classes:
        raise TargetError(f"--target {word}: the model has {classes} classes, 0 to {classes - 1}.")
    return index
