"""Pictures down, methods across: what `plot` and `contact_sheet` both draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.render.colors import style_of
from tfviz.render.overlays import blended
from tfviz.render.pictures import Map, Picture, is_single, maps_of, pictures_of, shrunk_or_enlarged

NARROWEST, WIDEST = 0.75, 1.5  # of a column, in heights; wider pictures are drawn less high


@dataclass(frozen=True)
class Grid:
    """The pictures, the maps of every method, and what is written beside them."""

    pictures: list[Picture]
    maps: dict[str, list[Map]]
    styles: dict[str, str]
    captions: list[str]

    @property
    def used_styles(self) -> list[str]:
        """Each style once, in the order of the columns."""
        return list(dict.fromkeys(self.styles.values()))

    @property
    def column_width(self) -> float:
        """Width of a column divided by the height of a row."""
        return min(max(*(one.shape[1] / one.shape[0] for one in self.pictures), NARROWEST), WIDEST)

    def row(self, index: int, height: int, width: int, alpha: float) -> list[Picture]:
        """A picture and its maps, each as large as fits into (height, width) without a change of its shape."""
        whole = self.pictures[index]
        scale = min(height / whole.shape[0], width / whole.shape[1])
        size = (max(1, round(whole.shape[0] * scale)), max(1, round(whole.shape[1] * scale)))
        picture = shrunk_or_enlarged(whole, *size)
        return [picture, *(blended(picture, self.maps[key][index], self.styles[key], alpha) for key in self.maps)]


def grid_of(
    images: Any,
    attributions: Mapping[str, Any],
    captions: Sequence[str | None] | None,
    styles: Mapping[str, str] | None,
) -> Grid:
    """Check that everything fits together; see `plot` for the arguments."""
    if not isinstance(attributions, Mapping) or not attributions:
        raise OptionError(
            'attributions: expected a dict from method to its maps, such as {"grad_cam": maps}, '
            f"got {'an empty one' if isinstance(attributions, Mapping) else type(attributions).__name__}."
        )
    pictures = pictures_of(images)
    maps = {
        key: maps_of(attribution, count=len(pictures), single=is_single(images)) for key, attribution in attributions.items()
    }
    chosen = dict(styles or {})
    for key in chosen.keys() - maps.keys():
        raise OptionError(f"styles: there are no maps of {key!r}. {near_matches(key, maps)}")
    return Grid(
        pictures=pictures,
        maps=maps,
        styles={key: style_of(maps[key], chosen.get(key)) for key in maps},
        captions=_captions(captions, len(pictures)),
    )


def _captions(captions: Sequence[str | None] | None, count: int) -> list[str]:
    if captions is None:
        return [""] * count
    captions = [captions] if isinstance(captions, str) else list(captions)
    if len(captions) != count:
        raise ImageError(f"captions: expected one for each picture, got {len(captions)} for {count} pictures.")
    return [caption or "" for caption in captions]
