"""How strong a map is. A map that is scaled to itself looks as strong as any other, so pictures say it in words.

excitation backprop   the sum of the map, which is the share of the probability that arrived at it
other methods         the peak of the map relative to the peak of the reference, the map of the top class if it is there
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfviz.render.colors import MEANINGS, limit_of
from tfviz.render.pictures import Map

NEARLY_EMPTY = 0.02  # of the probability, or of the peak of the reference
DIMMING = 4.0  # a nearly empty map that is scaled to itself reaches a quarter of the colors
_SUMS_TO_SHARE = "excitation_backprop"
SCALES = ("map", "image")


@dataclass(frozen=True)
class Strength:
    """words: for a caption; "" if nothing is known. own_limit: the largest value on the map's own scale."""

    words: str
    own_limit: float
    is_nearly_empty: bool = False

    @property
    def limit(self) -> float:
        """The value of the strongest color when the map is scaled to itself: a nearly empty map is drawn dim."""
        return self.own_limit * (DIMMING if self.is_nearly_empty else 1)


def strengths_of(method: str, maps: Sequence[Map], names: Sequence[str], style: str, reference: int | None) -> list[Strength]:
    """The strength of the maps that one method gives for several targets of one image.

    names: what the targets are called in captions. reference: the place of the map that the others are compared with, or
    None if the map of the top class is not among them.
    """
    peak = None if reference is None else float(np.abs(maps[reference]).max())
    found = []
    for place, (values, limit) in enumerate(zip(maps, (limit_of(values, style) for values in maps), strict=True)):
        words, strength = "", 1.0
        if method.replace("-", "_") == _SUMS_TO_SHARE:
            strength = float(values.sum())
            words = f"sum {strength:.2f} of 1"
        elif peak and place != reference:
            strength = float(np.abs(values).max()) / peak
            words = f"peak {_percent(strength)} of {names[reference or 0].split(',')[0]}"
        found.append(_strength(words, strength, limit))
    return found


def meaning_of(style: str, scale: str) -> str:
    """What the colors of a style mean on a scale, for legends."""
    meaning = MEANINGS[style]
    return meaning if scale == "map" else meaning.replace("of each map", "of all targets of an image and method")


def common_limit(strengths: Sequence[Strength]) -> float:
    """The value of the strongest color if all targets of an image and method share one scale."""
    return max(strengths, key=lambda one: one.own_limit).limit


def _strength(words: str, strength: float, limit: float) -> Strength:
    if limit == 0:
        return Strength("empty: zero everywhere", limit)
    is_nearly_empty = strength < NEARLY_EMPTY
    return Strength(f"{words} (nearly empty)" if is_nearly_empty else words, limit, is_nearly_empty)


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")
