"""μFidelity: does the map predict the effect of removing random parts of the image?

    ρ(Σ_{c ∈ s} a_c, S(x) − S(x with the cells of s := μ)) over random subsets s
        Bhatt et al., 2020, "Evaluating and Aggregating Feature-based Model Explanations"

The image is divided into 9 × 9 cells, each subset contains a fifth of them, and ρ is Spearman's
rank correlation over 200 subsets. A random map scores 0 on average. All methods score low, because
the network was not trained on images with such holes and the effects of removed cells rarely add
up.

The cost is 200 forward passes per image, which all methods share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.cells import cells, sums
from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.rank_correlation import spearman


@dataclass(frozen=True, eq=False)
class MuFidelity(Metric):
    """Correlates the map's sum over a subset of cells with the drop in score when they are removed.

    Args:
        grid: the number of cells along each axis.
        share: the fraction of cells that each subset removes.
        subsets: the number of random subsets, or the subsets themselves as a bool array of shape
            (n, grid²).
    """

    grid: int = 9
    share: float = 0.2
    subsets: int | np.ndarray = 200

    key: ClassVar[str] = "mu_fidelity"
    question: ClassVar[str] = "Does the map predict the effect of removing random parts of the image?"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("mu_fidelity"),)
    is_default: ClassVar[bool] = False
    reads_map: ClassVar[bool] = False

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        cell_of = cells(case.size, self.grid)
        for subset in self._subsets(case.seed):
            yield case.with_pixels(case.image, np.flatnonzero(subset[cell_of]), case.mean_color)

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        if case.map.is_blank:
            return {self.key: Score(0.0, len(outputs))}
        a = sums(case.map.resized(case.size), cells(case.size, self.grid), self.grid)
        return {self.key: Score(spearman(self._subsets(case.seed) @ a, case.logit - outputs.logits), len(outputs))}

    def _subsets(self, seed: int) -> np.ndarray:
        if isinstance(self.subsets, np.ndarray):
            return self.subsets
        count = self.grid**2
        subset = np.arange(count) < round(self.share * count)
        return np.random.default_rng(seed).permuted(np.tile(subset, (self.subsets, 1)), axis=1)
