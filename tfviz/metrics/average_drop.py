"""Average drop, increase and gain: how much class probability remains after masking with the map?

    O = p(x ⊙ M), Y = p(x):  drop = max(0, Y − O)/Y,  increase = [O > Y],
    gain = max(0, O − Y)/(1 − Y), with M the map scaled to [0, 1]
        Chattopadhay et al., 2018, "Grad-CAM++"; Zhang et al., 2024, "Opti-CAM" (gain)

A low drop, a high increase and a high gain are considered good. However, these measures also reward
a map that keeps the entire image: the control `fake_cam`, which is 1 everywhere except at one
pixel, has almost no drop (Poppi et al., 2021, "Revisiting the Evaluation of Class Activation
Mapping for Explainability"). Always compare all three measures with this control. A blank map is
scored like the random control.

The cost is one forward pass per image and method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.controls import ControlMap, random
from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.pixel_maps import PixelMap, pixel_map
from tfviz.numerics import unit_range


def fake_cam(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return a map that is 1 everywhere except the top-left pixel."""
    values = np.ones(image.shape[:2], np.float32)
    values[0, 0] = 0
    return pixel_map(values)


@dataclass(frozen=True)
class AverageDrop(Metric):
    """Measures how the probability changes when the image is multiplied by the map."""

    key: ClassVar[str] = "average_drop"
    question: ClassVar[str] = "How much of the class score remains if the image is multiplied by the map?"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("average_drop", higher_is_better=False),
        Measure("average_increase"),
        Measure("average_gain"),
    )
    is_default: ClassVar[bool] = False
    controls: ClassVar[Mapping[str, ControlMap]] = {"fake_cam": fake_cam}

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        shown = random(case.image, case.permutation) if case.map.is_blank else case.map
        values = shown.resized(case.size)
        yield case.image * np.asarray(unit_range(values[None]))[0, :, :, None]

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        o, y = float(outputs.probabilities[0]), case.probability
        return {
            "average_drop": Score(max(0.0, y - o) / y if y > 0 else 0.0, 1),
            "average_increase": Score(float(o > y), 1),
            "average_gain": Score(max(0.0, o - y) / (1 - y) if y < 1 else 0.0, 1),
        }
