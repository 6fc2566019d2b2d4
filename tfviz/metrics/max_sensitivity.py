"""Max-sensitivity: how much does the map change when the image hardly does?

    max_j ‖m(x + δ_j) − m(x)‖ / ‖m(x)‖, with every entry of δ_j uniform in ±.02 (max x − min x)
        Yeh et al., 2019, "On the (In)fidelity and Sensitivity of Explanations"

A low figure is good. It measures stability, not truth: a control map that ignores the image is
perfectly stable, so this metric never decides between a method and the random control. A blank map
scores like the random control, 0.

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
    """The largest relative change of the map under small random changes of the image.

    Args:
        radius: the largest change of a value, as a fraction of the image's range.
        draws: the number of changed images.
    """

    radius: float = 0.02
    draws: int = 10

    key: ClassVar[str] = "max_sensitivity"
    question: ClassVar[str] = "How much does the map change when the image hardly does?"
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
        """Draw the changed images, the same for all methods and any batch size."""
        rng = np.random.default_rng(case.seed)
        largest = self.radius * (float(case.image.max()) - float(case.image.min()))
        noise = rng.uniform(-largest, largest, (self.draws, *case.image.shape)).astype(np.float32)
        return [case.image + noise[i : i + case.batch_size] for i in range(0, self.draws, case.batch_size)]


def _finite(pixel_map: PixelMap) -> np.ndarray:
    """Return the values in float64; a map that is not finite counts as empty."""
    values = pixel_map.values.astype(np.float64)
    return values if np.isfinite(values).all() else np.zeros_like(values)
