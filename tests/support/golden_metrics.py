"""The float64 scores of stored maps on small networks, beside the project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from support.golden import golden
from tfviz.metrics.forward_passes import ForwardPasses
from tfviz.metrics.metric import Case, Metric, Score
from tfviz.metrics.pixel_maps import pixel_map
from tfviz.metrics.regions import Regions

TARGET, OTHER = 0, 1  # the classes that stand for the stored boxes


@dataclass(frozen=True)
class StoredScores:
    """The stored scores of one network, and its model."""

    model: ForwardPasses
    images: np.ndarray
    target: np.ndarray
    arrays: dict[str, np.ndarray]

    @property
    def maps(self) -> list[str]:
        return [key.removeprefix("blank/") for key in self.arrays if key.startswith("blank/")]

    def cases(self, name: str, with_regions: bool = False) -> Iterator[Case]:
        """Yield one case per image, with the stored map, color and order of ties."""
        logits, probabilities = self.model.all_classes(self.images)
        for i, image in enumerate(self.images):
            boxes = {TARGET: self.arrays["boxes/target"][i], OTHER: self.arrays["boxes/other"][i]}
            target = int(self.target[i])
            yield Case(
                image=image,
                target=TARGET if with_regions else target,
                logit=float(logits[i, target]),
                probability=float(probabilities[i, target]),
                map=pixel_map(self.arrays[f"map/{name}"][i]),
                explain=lambda images: [],
                mean_color=np.zeros(image.shape[-1], np.float32),
                permutation=self.arrays["permutation"],
                regions=Regions(boxes, image.shape[:2]),
            )

    def scores(self, metric: Metric, name: str) -> list[dict[str, Score]]:
        """Score the stored map of each image."""
        return [
            metric.scores(case, self.model.one_class(metric.perturbed(case), int(self.target[i])))
            for i, case in enumerate(self.cases(name, metric.needs_regions))
        ]


def stored_scores(shared: Path, name: str) -> StoredScores:
    model, arrays = golden(shared, name)
    path = shared / "golden" / f"{name}.metrics.npz"
    if not path.is_file():
        pytest.skip("the stored scores are not here")
    stored = dict(np.load(path))
    return StoredScores(ForwardPasses(model), arrays["images"], arrays["target"], stored)
