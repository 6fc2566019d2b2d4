"""The pointing game: is the map's maximum on the object?

    hit: a pixel in the class's region is less than 15 pixels from the map's maximum
        Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1

The map is resized to the original image's size and points at its first maximum in raster order.
Every class with a region is explained. The accuracy is the mean over classes; `pointing_game_pairs`
is the mean over all image-class pairs. A pair is difficult if its boxes cover less than a quarter
of the image and the image contains another class.

A map can point at the object and still be wrong everywhere else. On photos of one large object, the
image center also scores well, so compare methods with the `center` control. A blank map counts as a
miss.

The metric needs the maps for all annotated classes, but no additional forward passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfviz.metrics.metric import Case, Measure, Metric, Outputs, Score
from tfviz.metrics.regions import Regions

_LARGEST_DIFFICULT_SHARE = 0.25


@dataclass(frozen=True)
class PointingGame(Metric):
    """Checks whether the map's maximum lies on the object or close to it.

    Args:
        tolerance: the distance below which a point is a hit, in pixels of the original image.
    """

    tolerance: float = 15

    key: ClassVar[str] = "pointing_game"
    question: ClassVar[str] = "Is the map's maximum on the object?"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("pointing_game", statistic="class_mean"),
        Measure("pointing_game_pairs", statistic="share"),
        Measure("pointing_game_difficult", statistic="class_mean"),
    )
    needs_regions: ClassVar[bool] = True

    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        if case.regions is None:
            return {}
        hit = Score(float(self._is_hit(case, case.regions.mask(case.target))))
        found = {"pointing_game": hit, "pointing_game_pairs": hit}
        return found | ({"pointing_game_difficult": hit} if is_difficult(case.regions, case.target) else {})

    def _is_hit(self, case: Case, region: np.ndarray) -> bool:
        if case.map.is_blank:
            return False
        row, column = point(case.map.resized(region.shape))  # type: ignore[arg-type]
        rows, columns = np.nonzero(region)
        return bool(((rows - row) ** 2 + (columns - column) ** 2).min() < self.tolerance**2)


def point(values: np.ndarray) -> tuple[int, int]:
    """Return the row and column of the first maximum in raster order."""
    row, column = np.unravel_index(np.argmax(values), values.shape)
    return int(row), int(column)


def is_difficult(regions: Regions, index: int) -> bool:
    """Return whether a class covers less than a quarter of an image with several classes."""
    height, width = regions.size
    return len(regions.classes) > 1 and regions.area(index) < _LARGEST_DIFFICULT_SHARE * height * width
