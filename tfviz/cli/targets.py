"""`--target`: which classes are explained for each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfviz.class_scores import ranked_classes
from tfviz.models.labels import Labels
from tfviz.target_words import ClassOrRank, targets_named
from tfviz.targets import Rank


class ClassTargets:
    """The classes that were asked for, some by their rank ("top", "top3") and some by number or name.

    Raises TargetError for a name that no class has, a number or rank beyond the model's classes.
    """

    def __init__(self, words: Sequence[str], labels: Labels, classes: int) -> None:
        self.is_top_only = [word.lower() for word in words] in (["top"], ["top1"])
        found = [one for word in words for one in targets_named(word, lambda: labels, classes).values()]
        self._targets: list[ClassOrRank] = list(dict.fromkeys(found))

    def columns(self, scores: np.ndarray) -> list[np.ndarray]:
        """One array (N,) int32 of classes for each class or rank asked for; scores: (N, classes)."""
        ranked = ranked_classes(scores)
        return [ranked[:, one.place] if isinstance(one, Rank) else np.full(len(scores), one, np.int32) for one in self._targets]
