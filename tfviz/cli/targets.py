"""`--target`: choose the classes to explain for each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfviz.class_scores import ClassScores
from tfviz.models.labels import Labels
from tfviz.target_words import ClassOrRank, targets_named
from tfviz.targets import Rank


class ClassTargets:
    """The requested classes, each given by rank ("top", "top3"), number or name."""

    def __init__(self, words: Sequence[str], labels: Labels, classes: int) -> None:
        """Parse the values of `--target`.

        Args:
            words: the values of `--target`.
            labels: the class names.
            classes: the number of classes.

        Raises:
            TargetError: no class has this name, number or rank.
        """
        self.is_top_only = [word.lower() for word in words] in (["top"], ["top1"])
        found = [one for word in words for one in targets_named(word, lambda: labels, classes).values()]
        self._targets: list[ClassOrRank] = list(dict.fromkeys(found))

    @property
    def first(self) -> ClassOrRank:
        """The first requested class or rank."""
        return self._targets[0]

    def columns(self, scores: ClassScores) -> list[np.ndarray]:
        """Return an array of N int32 class indices for each requested class or rank."""
        return [
            scores.ranked[:, one.place] if isinstance(one, Rank) else np.full(len(scores), one, np.int32)
            for one in self._targets
        ]
