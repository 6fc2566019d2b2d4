"""ROAD: does removing the most relevant pixels hurt more than removing the least relevant?

    mean over q of (p_LeRF − p_MoRF)/2, with q = .1, …, .9 of the pixels removed
        Rong et al., 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods"

MoRF removes the most relevant pixels first, LeRF the least relevant. Removed pixels are filled in
from their neighbors (see `imputation`), with a little noise added. As a result, the shape of the
hole tells the network less than if the hole had a flat color. A random map scores about 0. ROAD
favors blurry maps, because these remove large areas that cannot be filled in well (arXiv
2304.13836).

The cost is 18 forward passes and 18 imputations per image and method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.imputation import imputed
from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.pixel_order import descending


@dataclass(frozen=True)
class Road(Metric):
    """Compares the class probability after removing the least and the most relevant pixels.

    Args:
        fractions: the fractions of pixels to remove.
        noise: the standard deviation of the noise on filled-in pixels, in the model's value range.
    """

    fractions: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    noise: float = 0.01

    key: ClassVar[str] = "road"
    question: ClassVar[str] = "Does removing the most relevant pixels hurt more than removing the least relevant?"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("road"),)

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        removed = self._removed(case)
        for start in range(0, len(removed), case.batch_size):
            batch = removed[start : start + case.batch_size]
            images = imputed(np.broadcast_to(case.image, (len(batch), *case.image.shape)), batch)
            for number, image in enumerate(images, start):
                noise = self._noise(case, number % len(self.fractions))
                yield np.where(removed[number, :, :, None], image + noise, image)

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        morf, lerf = np.split(outputs.probabilities, 2)
        gaps = (lerf - morf) / 2
        return {self.key: Score(float(gaps.mean()), len(outputs), np.stack([self.fractions, gaps], axis=1))}

    def _removed(self, case: Case) -> np.ndarray:
        """Return masks of the removed pixels, first for MoRF and then for LeRF.

        They form a bool array of shape (2 · fractions, H, W).
        """
        order = descending(case.map, case.size, case.permutation)
        removed = np.zeros((2, len(self.fractions), len(order)), bool)
        for number, fraction in enumerate(self.fractions):
            count = min(round(fraction * len(order)), len(order) - 1)  # one pixel must be kept
            removed[0, number, order[:count]] = True
            removed[1, number, order[len(order) - count :]] = True
        return removed.reshape(-1, *case.size)

    def _noise(self, case: Case, number: int) -> np.ndarray:
        """Draw the noise for the fraction with this index, shared by all images and methods."""
        return np.random.default_rng((case.seed, number)).normal(0, self.noise, case.image.shape).astype(np.float32)
