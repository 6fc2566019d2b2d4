"""Deletion and insertion: how fast does the class vanish or appear in the map's order?

    area = (Σ_k c_k − c_0/2 − c_K/2) / K, with c_k = p after k steps of ⌈HW/28⌉ pixels
        Petsiuk et al., 2018, "RISE: Randomized Input Sampling for Explanation", section 4.2

Deletion sets pixels to the mean color, highest-ranked first; a low area is good. Insertion starts
from a blurred image and restores pixels, highest-ranked first; a high area is good. The scores
depend on the step size, the color and the blur, so compare them only within a single table.
Half-deleted images differ from the training data, so the class may vanish simply because the image
looks unusual.

Deletion and insertion each cost 28 forward passes per image and method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.pixel_order import descending

# The kernel from RISE's code: a Gaussian with σ = 5, truncated to 11 taps, which is close to a box
# filter.
_TAPS = np.array([0.0880, 0.0889, 0.0905, 0.0922, 0.0935, 0.0940, 0.0935, 0.0922, 0.0905, 0.0889, 0.0880])


@dataclass(frozen=True)
class DeletionInsertion(Metric):
    """Measures the area under the curve of the class probability as pixels are deleted or inserted.

    Args:
        steps: the maximum number of steps. Each step changes ⌈H · W / steps⌉ pixels.
    """

    steps: int = 28

    key: ClassVar[str] = "deletion_insertion"
    question: ClassVar[str] = "How fast does the class score change as pixels are removed or added in the map's order?"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("deletion", higher_is_better=False),
        Measure("insertion"),
        Measure("insertion_minus_deletion"),
    )

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        order, step, count = self._plan(case)
        for k in range(1, count + 1):
            yield case.with_pixels(case.image, order[: k * step], case.mean_color)
        start = blurred(case.image)
        for k in range(count):
            yield case.with_pixels(start, order[: k * step], case.image)

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        _, step, count = self._plan(case)
        p = outputs.probabilities
        fractions = np.minimum(np.arange(count + 1) * step / len(case.permutation), 1)
        deletion = np.concatenate([[case.probability], p[:count]])
        insertion = np.concatenate([p[count:], [case.probability]])
        return {
            "deletion": Score(_area(deletion), count, np.stack([fractions, deletion], axis=1)),
            "insertion": Score(_area(insertion), count, np.stack([fractions, insertion], axis=1)),
            "insertion_minus_deletion": Score(_area(insertion) - _area(deletion), 2 * count),
        }

    def _plan(self, case: Case) -> tuple[np.ndarray, int, int]:
        """Return the pixel order, the number of pixels per step and the number of steps."""
        order = descending(case.map, case.size, case.permutation)
        step = math.ceil(len(order) / self.steps)
        return order, step, math.ceil(len(order) / step)


def _area(c: np.ndarray) -> float:
    return float((c.sum() - c[0] / 2 - c[-1] / 2) / (len(c) - 1))


def blurred(image: np.ndarray) -> np.ndarray:
    """Blur an image of shape (H, W, C) with zero padding, as in the RISE code."""
    result = cv2.sepFilter2D(np.asarray(image, np.float32), cv2.CV_32F, _TAPS, _TAPS, borderType=cv2.BORDER_CONSTANT)
    return result.reshape(image.shape)
