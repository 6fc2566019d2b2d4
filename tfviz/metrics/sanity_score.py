"""One comparison of a sanity check, and the words for tests, measures and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

TOP_DOWN, RANDOM_LOGIT, UNRELATED, EMPRT = "top_down", "random_logit", "unrelated", "emprt"
DECIDING = "spearman"  # signed, because SSIM and HOG are high for any two smooth maps
HARDLY = 0.5  # of the similarity beyond that of unrelated maps
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
    """One comparison of one image's maps.

    Attributes:
        method: the key of the method.
        layer: the layer that it explains; "" for the image.
        test: "top_down", "bottom_up", "independent", "random_logit" or, for two images of the
            original model, "unrelated".
        randomized: the path of the layer that was randomized last.
        depth: the share of the layers that are random; for "independent", the position of the one
            that is, counted from the output.
        measure: the similarity, or "emprt".
        image: the number of the image.
        value: the value.
        blank: whether one of the two maps is blank.
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
