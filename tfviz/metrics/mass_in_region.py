"""Mass in region: what share of the map lies on the object?

    Σ_inside m⁺ / Σ m⁺, with m⁺ = max(m, 0), and 0 if the sum is 0
        Wang et al., 2020, "Score-CAM", section 4.3 (the energy-based pointing game)

The map is resized to the original image's size. Its minimum is not subtracted, because that would
add mass everywhere. The score of the `area` control is the region's share of the image. In images
with several classes, `mass_on_other` is the share on objects of the other classes; a low value is
good.

A map that correctly shows where the network looks still scores low if the network uses the
background. Unspecific maps score higher on larger objects. A blank map has no mass in any region.

The metric needs the maps for all annotated classes, but no additional forward passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.controls import ControlMap
from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.pixel_maps import PixelMap


def area(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return a uniform map that does not count as blank.

    Its score is the region's share of the image.
    """
    return PixelMap(np.ones(image.shape[:2], np.float32), is_blank=False)


@dataclass(frozen=True)
class MassInRegion(Metric):
    """Measures the share of the map's positive part that lies on the object."""

    key: ClassVar[str] = "mass_in_region"
    question: ClassVar[str] = "What share of the map lies on the object?"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mass_in_region"),
        Measure("mass_on_other", higher_is_better=False),
    )
    needs_regions: ClassVar[bool] = True
    controls: ClassVar[Mapping[str, ControlMap]] = {"area": area}

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        if case.regions is None:
            return {}
        masks = {index: case.regions.mask(index) for index in case.regions.classes}
        region = masks.pop(case.target)
        found = {"mass_in_region": Score(mass(case.map, region))}
        if masks:
            found["mass_on_other"] = Score(mass(case.map, np.logical_or.reduce(list(masks.values()))))
        return found


def mass(pixel_map: PixelMap, region: np.ndarray) -> float:
    """Compute the share of a map's positive part that lies in a region.

    The region is a mask of shape (height, width).
    """
    if pixel_map.is_blank:
        return 0.0
    positive = np.maximum(pixel_map.resized(region.shape), 0).astype(np.float64)  # type: ignore[arg-type]
    total = positive.sum()
    return float(positive[region].sum() / total) if total else 0.0
