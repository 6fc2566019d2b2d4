"""The base class for metrics, and the types of their inputs and results."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from tfviz.metrics.controls import ControlMap
from tfviz.metrics.pixel_maps import PixelMap, Size
from tfviz.metrics.regions import Regions

# How to combine the scores of all images and classes into one number (see `statistics`).
Statistic = Literal["mean", "class_mean", "share"]


@dataclass(frozen=True)
class Measure:
    """One number that a metric reports.

    Attributes:
        key: the name used in tables.
        higher_is_better: whether a higher value is better.
        statistic: "mean", the mean over images; "class_mean", the mean of the per-class means; or
            "share", the mean of zeros and ones with Wilson's interval.
    """

    key: str
    higher_is_better: bool = True
    statistic: Statistic = "mean"


@dataclass(frozen=True)
class Case:
    """One map for one image and class, with all the data that a metric may need.

    Attributes:
        image: the preprocessed image, with shape (H, W, C).
        target: the class that the map explains.
        logit, probability: the model's logit and probability for that class and image.
        map: the map.
        explain: a function that runs the method on other images of shape (n, H, W, C), for the same
            class.
        mean_color: the color that replaces removed pixels, a float32 array of shape (C,).
        permutation: a permutation of the pixels that breaks ties, an int array of shape (H · W,).
        seed: the seed for all other random numbers.
        batch_size: the maximum number of images to hold in memory at once.
        regions: the annotated regions; None if there are none.
    """

    image: np.ndarray
    target: int
    logit: float
    probability: float
    map: PixelMap
    explain: Callable[[np.ndarray], Sequence[PixelMap]]
    mean_color: np.ndarray
    permutation: np.ndarray
    seed: int = 0
    batch_size: int = 32
    regions: Regions | None = None

    @property
    def size(self) -> Size:
        """The image's (height, width)."""
        height, width = self.image.shape[:2]
        return height, width

    def with_pixels(self, start: np.ndarray, pixels: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return a copy of `start` with some pixels replaced.

        `pixels` contains their indices. `source` is a color, or an image to copy the new values
        from.
        """
        result = start.reshape(-1, start.shape[-1]).copy()
        result[pixels] = source if source.ndim == 1 else source.reshape(result.shape)[pixels]
        return result.reshape(start.shape)


@dataclass(frozen=True)
class Outputs:
    """The model's outputs for a metric's perturbed images and one class.

    Attributes:
        logits, probabilities: float64 arrays of shape (n,).
    """

    logits: np.ndarray
    probabilities: np.ndarray

    def __getitem__(self, rows: slice) -> Outputs:
        return Outputs(self.logits[rows], self.probabilities[rows])

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Score:
    """The score of one measure for one case.

    Attributes:
        value: the score.
        forwards: the number of forward passes, not counting the one for the original image.
        curve: for metrics that remove pixels step by step, an array of shape (points, 2) with
            fractions of pixels and the values at these fractions.
    """

    value: float
    forwards: int = 0
    curve: np.ndarray | None = field(default=None, compare=False)


class Metric(abc.ABC):
    """The base class for metrics. A metric is a dataclass whose fields are its options.

    Attributes:
        key: the name in `METRICS`.
        question: the question that the metric answers.
        measures: the numbers that the metric reports.
        is_default: whether `metrics="default"` includes the metric.
        needs_regions: whether the metric compares maps with annotated regions. Such a metric scores
            every class with a region instead of the target.
        reads_map: whether the images from `perturbed` depend on the map. If not, all methods share
            them.
        controls: additional control maps for this metric, by name.
    """

    key: ClassVar[str]
    question: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]
    is_default: ClassVar[bool] = True
    needs_regions: ClassVar[bool] = False
    reads_map: ClassVar[bool] = True
    controls: ClassVar[Mapping[str, ControlMap]] = {}

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        """Yield the perturbed images that the model must be run on, each with shape (H, W, C)."""
        return iter(())

    @abc.abstractmethod
    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        """Compute the metric's measures for one case.

        Args:
            case: the map, the image and the class.
            outputs: the model's outputs for the images from `perturbed`, in the same order.

        Returns:
            A dict that maps measure keys to scores. Measures that do not apply to the case are
            omitted.
        """
