"""The base class of all metrics, and what they receive and return."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from tfviz.metrics.controls import ControlMap
from tfviz.metrics.pixel_maps import PixelMap, Size
from tfviz.metrics.regions import Regions

# How the scores of all images and classes become one number (see `statistics`).
Statistic = Literal["mean", "class_mean", "share"]


@dataclass(frozen=True)
class Measure:
    """One number that a metric reports.

    Attributes:
        key: its name in tables.
        higher_is_better: which direction is good.
        statistic: "mean" over images; "class_mean", the mean over classes of their means; or
            "share", a mean of zeros and ones with Wilson's interval.
    """

    key: str
    higher_is_better: bool = True
    statistic: Statistic = "mean"


@dataclass(frozen=True)
class Case:
    """One map of one image for one class, with everything that a metric may need.

    Attributes:
        image: what the model takes, (H, W, C).
        target: the class that the map explains.
        logit, probability: the model's for that class and image.
        map: the map.
        explain: runs the method on other images (n, H, W, C), for the same class.
        mean_color: what replaces a removed pixel, float32 (C,).
        permutation: breaks ties between pixels, int (H · W,).
        seed: for all other random numbers.
        batch_size: the largest number of images to hold at once.
        regions: where the classes are; None if unknown.
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
        """(height, width) of the image."""
        height, width = self.image.shape[:2]
        return height, width

    def with_pixels(self, start: np.ndarray, pixels: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Copy `start`, with the pixels that have these indices taken from an image or a color."""
        result = start.reshape(-1, start.shape[-1]).copy()
        result[pixels] = source if source.ndim == 1 else source.reshape(result.shape)[pixels]
        return result.reshape(start.shape)


@dataclass(frozen=True)
class Outputs:
    """What the model gives for a metric's images, for the class of the case.

    Attributes:
        logits, probabilities: float64 (n,).
    """

    logits: np.ndarray
    probabilities: np.ndarray

    def __getitem__(self, rows: slice) -> Outputs:
        return Outputs(self.logits[rows], self.probabilities[rows])

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Score:
    """The score of one case by one measure.

    Attributes:
        value: the score.
        forwards: how many forward passes it takes, besides that of the image itself.
        curve: for metrics that remove more and more pixels, (points, 2): the fraction of pixels and
            the value there.
    """

    value: float
    forwards: int = 0
    curve: np.ndarray | None = field(default=None, compare=False)


class Metric(abc.ABC):
    """One metric. Its options are the fields of the dataclass that implements it.

    Attributes:
        key: its name in `METRICS`.
        question: what it measures.
        measures: the numbers that it reports.
        is_default: whether `metrics="default"` includes it.
        needs_regions: whether it compares maps with annotated regions, and so runs for each class
            that has one, rather than for the target alone.
        reads_map: whether the images of `perturbed` depend on the map. If not, all methods share
            them.
        controls: control maps of its own, by name.
    """

    key: ClassVar[str]
    question: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]
    is_default: ClassVar[bool] = True
    needs_regions: ClassVar[bool] = False
    reads_map: ClassVar[bool] = True
    controls: ClassVar[Mapping[str, ControlMap]] = {}

    def perturbed(self, case: Case) -> Iterator[np.ndarray]:
        """Yield the images (H, W, C) that the model has to see for the scores."""
        return iter(())

    @abc.abstractmethod
    def scores(self, case: Case, outputs: Outputs) -> dict[str, Score]:
        """Score a case.

        Args:
            case: the map, the image and the class.
            outputs: the model's outputs for the images of `perturbed`, in order.

        Returns:
            The score by the key of each measure. A measure that does not apply to the case is left
            out.
        """
