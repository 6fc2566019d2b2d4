"""Max-sensitivity: how much does the map change when the image barely changes?

    max_j ‖m(x + δ_j) − m(x)‖ / ‖m(x)‖, with every entry of δ_j uniform in ±.02 (max x − min x)
        Yeh et al., 2019, "On the (In)fidelity and Sensitivity of Explanations"

A low value is good. The metric measures stability rather than correctness. A control map that
ignores the image is perfectly stable, so no method scores better than the random control. A blank
map scores 0, like the random control.

The cost is 10 explanations per image and method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.pixel_maps import PixelMap


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """Measures the largest relative change in the map under small random changes to the image.

    Args:
        radius: the maximum change per value, as a fraction of the image's value range.
        draws: the number of perturbed images.
    """

    radius: float = 0.02
    draws: int = 10

    key: ClassVar[str] = "max_sensitivity"
    question: ClassVar[str] = "How much does the map change when the image barely changes?"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("max_sensitivity", higher_is_better=False),)
    is_default: ClassVar[bool] = False

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        norm = np.linalg.norm(case.map.values.astype(np.float64))
        if case.map.is_blank or norm == 0:
            return {self.key: Score(0.0, self.draws)}
        maps = [found for batch in self._batches(case) for found in case.explain(batch)]
        changes = [np.linalg.norm(_finite(found) - case.map.values) for found in maps]
        return {self.key: Score(float(max(changes) / norm), self.draws)}

    def _batches(self, case: Case) -> list[np.ndarray]:
        """Draw the perturbed images, which do not depend on the method or the batch size."""
        rng = np.random.default_rng(case.seed)
        largest = self.radius * (float(case.image.max()) - float(case.image.min()))
        noise = rng.uniform(-largest, largest, (self.draws, *case.image.shape)).astype(np.float32)
        return [case.image + noise[i : i + case.batch_size] for i in range(0, self.draws, case.batch_size)]


def _finite(pixel_map: PixelMap) -> np.ndarray:
    """Return the map's values as float64, or zeros if any value is not finite."""
    values = pixel_map.values.astype(np.float64)
    return values if np.isfinite(values).all() else np.zeros_like(values)
