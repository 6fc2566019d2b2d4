"""The score of a comparison, and the names of tests, measures and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

TOP_DOWN, RANDOM_LOGIT, UNRELATED, EMPRT = "top_down", "random_logit", "unrelated", "emprt"
DECIDING = "spearman"  # for signed maps; SSIM and HOG are high for any two smooth maps
HARDLY = 0.5  # the largest `kept` at which a method still counts as dependent
DEPENDS, HARDLY_DEPENDS, UNTESTED = "depends", "hardly depends", "no class to compare"

WORDS = {UNRELATED: "the map of another image", RANDOM_LOGIT: "the map of a random other class"}
CUMULATIVE = {
    TOP_DOWN: "the upper {share:.0%} of the layers randomized",
    "bottom_up": "the lower {share:.0%} of the layers randomized",
}
NAMES = {
    "spearman": "Spearman",
    "spearman_abs": "Spearman of magnitudes",
    "ssim": "SSIM",
    "hog": "HOG",
    EMPRT: "eMPRT",
}

Row: TypeAlias = dict[str, "str | float | int"]


@dataclass(frozen=True)
class SanityScore:
    """The score of a comparison between two maps.

    Attributes:
        method: the method key.
        layer: the layer that the method explains, or "" if it explains the image.
        test: "top_down", "bottom_up", "independent", "random_logit", or "unrelated" (the original
            model's maps for two images).
        randomized: the path to the layer that was randomized last.
        depth: the fraction of layers that are random; for "independent", the relative position of
            the randomized layer, counted from the output.
        measure: the similarity's key, or "emprt".
        image: the index of the image.
        value: the measure's value.
        blank: whether either map is blank.
    """

    method: str
    layer: str
    test: str
    randomized: str
    depth: float
    measure: str
    image: int
    value: float
    blank: bool
