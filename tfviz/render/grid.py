"""Pictures down, methods and targets across: what `plot` and `contact_sheet` both draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.colors import METHOD_STYLES, style_of
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Arrays, Map, Picture, is_single, maps_of, pictures_of, shrunk_or_enlarged
from tfviz.render.strength import SCALES, Strength, common_limit, strengths_of
from tfviz.render.titles import title_of

NARROWEST, WIDEST = 0.75, 1.5  # of a column, in heights; wider pictures are drawn less high

# method -> its maps, or method -> target -> its maps
Attributions: TypeAlias = "Mapping[str, Arrays | Mapping[str, Arrays]]"
Scores: TypeAlias = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Column:
    """The maps of one method for one target, a map for each picture; target: "" if there is only one.

    notes: what is written below each map. limits: for each map the value of the strongest color.
    """

    method: str
    target: str
    style: str
    maps: list[Map]
    limits: list[float]
    notes: list[str]

    @property
    def title(self) -> str:
        """The method in words, and the target below."""
        return "\n".join(filter(None, (title_of(self.method), self.target)))

    @property
    def has_own_title(self) -> bool:
        """Whether the user wrote a part of the title."""
        return self.title != title_of(self.method) or self.title == self.method


@dataclass(frozen=True)
class Grid:
    """The pictures, the columns of maps, and what is written below the pictures."""

    pictures: list[Picture]
    columns: list[Column]
    captions: list[str]
    look: Look
    scale: str

    @property
    def used_styles(self) -> list[str]:
        """Each style once, in the order of the columns."""
        return list(dict.fromkeys(column.style for column in self.columns))

    @property
    def column_width(self) -> float:
        """Width of a column divided by the height of a row."""
        return min(max(*(one.shape[1] / one.shape[0] for one in self.pictures), NARROWEST), WIDEST)

    def row(self, index: int, height: int, width: int) -> list[Picture]:
        """A picture and its maps, each as large as fits into (height, width) without a change of its shape."""
        whole = self.pictures[index]
        scale = min(height / whole.shape[0], width / whole.shape[1])
        size = (max(1, round(whole.shape[0] * scale)), max(1, round(whole.shape[1] * scale)))
        picture = shrunk_or_enlarged(whole, *size)
        maps = (blended(picture, one.maps[index], one.style, self.look, one.limits[index]) for one in self.columns)
        return [picture, *maps]

    def texts(self, index: int) -> list[str]:
        """What is written below a picture and each of its maps."""
        return [self.captions[index], *(column.notes[index] for column in self.columns)]


def grid_of(
    images: Arrays,
    attributions: Attributions,
    *,
    captions: Sequence[str | None] | None,
    scores: Scores | None,
    styles: Mapping[str, str] | None,
    look: Look,
    scale: str,
    preprocessing: Preprocessing | str | None,
) -> Grid:
    """Check that everything fits together; see `plot` for the arguments."""
    if not isinstance(attributions, Mapping) or not attributions:
        raise OptionError(
            'attributions: expected a dict from method to its maps, such as {"grad_cam": maps}, '
            f"got {'an empty one' if isinstance(attributions, Mapping) else type(attributions).__name__}."
        )
    if scale not in SCALES:
        raise OptionError(f"scale: no such scale {scale!r}. {near_matches(str(scale), SCALES)}")
    pictures = pictures_of(images, preprocessing)
    maps = {
        method: {target: maps_of(one, count=len(pictures), single=is_single(images)) for target, one in _targets(given).items()}
        for method, given in attributions.items()
    }
    for key in dict(styles or {}).keys() - maps.keys():
        raise OptionError(f"styles: there are no maps of {key!r}. {near_matches(key, maps)}")
    known_scores = _scores(scores or {}, maps, len(pictures))
    columns = [
        column
        for method, targets in maps.items()
        for column in _columns(method, targets, known_scores, dict(styles or {}).get(method), scale)
    ]
    return Grid(pictures, columns, _captions(captions, len(pictures)), look, scale)


def _targets(given: Arrays | Mapping[str, Arrays]) -> Mapping[str, Arrays]:
    if isinstance(given, Mapping) and not given:
        raise OptionError("attributions: expected maps for one target at least, got an empty dict.")
    return {str(target): one for target, one in given.items()} if isinstance(given, Mapping) else {"": given}


def _columns(
    method: str, targets: Mapping[str, list[Map]], scores: Mapping[str, list[float]], style: str | None, scale: str
) -> list[Column]:
    """A column for each target of a method."""
    style = style_of(next(iter(targets.values())), style or METHOD_STYLES.get(method.replace("-", "_")))
    names = list(targets)
    own_scores = [scores.get(target or method) for target in names]
    rows = [
        _strengths(method, [maps[index] for maps in targets.values()], names, style, [_at(one, index) for one in own_scores])
        for index in range(len(targets[names[0]]))
    ]
    columns = []
    for place, target in enumerate(names):
        limits = [row[place].limit if scale == "map" else common_limit(row) for row in rows]
        notes = [_note(_at(own_scores[place], index), row[place].words) for index, row in enumerate(rows)]
        columns.append(Column(method, target, style, targets[target], limits, notes))
    return columns


def _at(scores: list[float] | None, index: int) -> float | None:
    return None if scores is None else scores[index]


def _strengths(
    method: str, maps: list[Map], names: Sequence[str], style: str, scores: Sequence[float | None]
) -> list[Strength]:
    """Compared with the map of the target whose score is the highest, or if the scores are unknown with the strongest map."""
    if len(maps) == 1:
        return strengths_of(method, maps, names, style, None)
    known = [float("-inf") if score is None else score for score in scores]
    ranks = [float(np.abs(values).max()) for values in maps] if None in scores else known
    return strengths_of(method, maps, names, style, int(np.argmax(ranks)))


def _note(score: float | None, strength: str) -> str:
    return "\n".join(filter(None, ("" if score is None else f"score {score:.2f}", strength)))


def _scores(scores: Scores, maps: Mapping[str, Mapping[str, list[Map]]], count: int) -> dict[str, list[float]]:
    known = list(dict.fromkeys(target or method for method, targets in maps.items() for target in targets))
    found = {}
    for key, given in scores.items():
        if key not in known:
            raise OptionError(f"scores: there are no maps of {key!r}. {near_matches(key, known)}")
        values = np.asarray(given, np.float64).reshape(-1)
        if len(values) != count:
            raise ImageError(f"scores: expected one for each picture, got {len(values)} of {key!r} for {count} pictures.")
        found[key] = values.tolist()
    return found


def _captions(captions: Sequence[str | None] | None, count: int) -> list[str]:
    if captions is None:
        return [""] * count
    captions = [captions] if isinstance(captions, str) else list(captions)
    if len(captions) != count:
        raise ImageError(f"captions: expected one for each picture, got {len(captions)} for {count} pictures.")
    return [caption or "" for caption in captions]
