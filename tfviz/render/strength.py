"""Describe a map's strength in words, because separately scaled maps look alike.

excitation backprop   the map's sum, which is the share of the probability that reaches the map
other methods         the map's peak relative to a reference map's peak; the top class's map is the
                      reference if it is drawn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfviz.render.colors import MEANINGS, limit_of
from tfviz.render.pictures import Map

NEARLY_EMPTY = 0.02  # a fraction of the probability, or of the reference's peak
DIMMING = 4.0  # A nearly empty map uses only a quarter of its colors.
_SUMS_TO_ONE = "excitation_backprop"
SCALES = ("map", "image")


@dataclass(frozen=True)
class Strength:
    """The strength of a map.

    Attributes:
        words: the caption text, or "" if the map is not compared with another.
        value: an excitation backprop map's sum, or another map's largest absolute value.
        own_limit: the value that is drawn in the strongest color if the map is scaled separately.
        is_nearly_empty: whether to draw the map dimmed.
    """

    words: str
    value: float
    own_limit: float
    is_nearly_empty: bool = False

    @property
    def limit(self) -> float:
        """The value drawn in the strongest color. It is raised to dim a nearly empty map."""
        return self.own_limit * (DIMMING if self.is_nearly_empty else 1)


def strengths_of(method: str, maps: Sequence[Map], names: Sequence[str], style: str, reference: int | None) -> list[Strength]:
    """Return the strength of each map of one method for one image.

    Args:
        method: the method's key.
        maps: one map per target.
        names: the target names, for captions.
        style: the maps' style.
        reference: the index of the map to compare the others with, or None if the top class's map
            is not among them.

    Returns:
        One strength per map.
    """
    peak = None if reference is None else float(np.abs(maps[reference]).max())
    found = []
    for index, (values, limit) in enumerate(zip(maps, (limit_of(values, style) for values in maps), strict=True)):
        words, share = "", 1.0
        if method.replace("-", "_") == _SUMS_TO_ONE:
            share = value = float(values.sum())
            words = f"sum {share:.2f} of 1"
        else:
            value = float(np.abs(values).max())
            if peak and index != reference:
                share = value / peak
                words = f"peak {_percent(share)} of {names[reference or 0].split(',')[0]}"
        found.append(_strength(words, share, value, limit))
    return found


def meaning_of(style: str, scale: str, noun: str = "image") -> str:
    """Return the legend text for a style and a scale. `noun` is the word for what is explained."""
    meaning = MEANINGS[style]
    own = "an image" if noun == "image" else f"a {noun}"
    return meaning if scale == "map" else meaning.replace("of each map", f"of all targets of {own} and method")


def common_limit(strengths: Sequence[Strength]) -> float:
    """Return the value drawn in the strongest color if all targets share a scale."""
    return max(strengths, key=lambda one: one.own_limit).limit


def _strength(words: str, share: float, value: float, limit: float) -> Strength:
    if limit == 0:
        return Strength("empty: zero everywhere", value, limit)
    is_nearly_empty = share < NEARLY_EMPTY
    return Strength(f"{words} (nearly empty)" if is_nearly_empty else words, value, limit, is_nearly_empty)


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else f"{share:.0%}"
