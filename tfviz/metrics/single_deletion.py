"""Single deletion: does the map rank regions by the effect of removing them?

    ρ(a, d), with a_c = Σ m in cell c, and d_c = S(x) − S(x with cell c := μ)
        Hesse et al., 2024, "Benchmarking the Attribution Quality of Vision Models" (IDSDS)

The image is divided into 4 × 4 cells. ρ is Spearman's rank correlation; a random map scores 0 on
average. Only one cell is removed at a time, so the images stay close to the training data. However,
unless the network has been trained on such images, d does not measure importance alone. The paper
therefore trains the network on images with randomly blanked cells.

The cost is 16 forward passes per image, which all methods share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.cells import cells, sums
from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.rank_correlation import spearman


@dataclass(frozen=True)
class SingleDeletion(Metric):
    """Correlates the map's sum over each cell with the drop in score when that cell is removed.

    Args:
        grid: the number of cells along each axis.
    """

    grid: int = 4

    key: ClassVar[str] = "single_deletion"
    question: ClassVar[str] = "Does the map rank regions by the effect of removing them?"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("single_deletion"),)
    reads_map: ClassVar[bool] = False

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        cell_of = cells(case.size, self.grid)
        for cell in range(self.grid**2):
            yield case.with_pixels(case.image, np.flatnonzero(cell_of == cell), case.mean_color)

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        if case.map.is_blank:
            return {self.key: Score(0.0, len(outputs))}
        a = sums(case.map.resized(case.size), cells(case.size, self.grid), self.grid)
        return {self.key: Score(spearman(a, case.logit - outputs.logits), len(outputs))}
