"""Draw the maps that `tfviz evaluate` scores, along with the annotated regions.

Unlike the overlays from `tfviz explain`, these pictures show the scored values: the signed sum over
a map's channels. The white outline marks the annotated region of the class. The ring shows how far
from the maximum the pointing game still counts a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfviz.class_scores import ClassScores
from tfviz.cli.jobs import Job
from tfviz.images import write_image
from tfviz.methods.explainer import Explainer
from tfviz.metrics.pixel_maps import PixelMap, pixel_maps
from tfviz.metrics.pointing_game import PointingGame, point
from tfviz.metrics.regions import Regions
from tfviz.models.labels import Labels
from tfviz.render.colors import style_of
from tfviz.render.overlays import Look, blended

FOLDER = Path("maps")
LOOK = Look(underlay="gray")
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class ScoredImage:
    """One image in a batch.

    Attributes:
        job: the image's job.
        place: the image's position among all images.
        image: the part of the image that the network sees, uint8 RGB, for drawing.
        tensor: the network's input.
        scores: the model's class scores.
        classes: the explained classes, starting with the target.
        regions: the annotated regions, in pixels of the image file, or None if there are none.
        seen: `regions` cropped to the part of the image that the network sees, or None.
    """

    job: Job
    place: int
    image: np.ndarray
    tensor: np.ndarray
    scores: ClassScores
    classes: list[int]
    regions: Regions | None
    seen: Regions | None


def draw_maps(
    folder: Path, images: Sequence[ScoredImage], explainers: Sequence[Explainer], labels: Labels, batch_size: int
) -> list[list[dict[str, Any]]]:
    """Write pictures of the images and of their maps.

    Args:
        folder: the output folder.
        images: images whose tensors have the same shape.
        explainers: the methods.
        labels: the class names, for file names.
        batch_size: the maximum number of maps to compute at once.

    Returns:
        For each image, one dict per map with its method, target, path and style.
    """
    drawn: list[list[dict[str, Any]]] = [[] for _ in images]
    for one in images:
        write_image(folder / image_path(one.job), _outlined(one.image, one, list(one.seen.classes) if one.seen else []))
    pairs = [(number, target) for number, one in enumerate(images) for target in one.classes]
    for explainer in explainers:
        for start in range(0, len(pairs), batch_size):
            some = pairs[start : start + batch_size]
            targets = np.array([target for _, target in some], np.int32) if explainer.takes_target else None
            call = explainer.prepare(np.stack([images[number].tensor for number, _ in some]), targets)
            for (number, target), scored in zip(some, pixel_maps(np.asarray(call.run())), strict=True):
                drawn[number].append(_write(folder, images[number], explainer.key, target, scored, labels))
    return drawn


def image_path(job: Job) -> Path:
    """Return the drawn image's path, relative to the output folder."""
    return FOLDER / job.folder / "image.png"


def _write(folder: Path, image: ScoredImage, method: str, target: int, scored: PixelMap, labels: Labels) -> dict[str, Any]:
    values = np.nan_to_num(scored.values, posinf=0, neginf=0)
    style = style_of([values], None)
    picture = _outlined(blended(image.image, values, style, LOOK), image, [target])
    if image.seen is not None and target in image.seen.classes and not scored.is_blank:
        _draw_point(picture, scored, image.seen.size)
    word = "-".join(dict.fromkeys((method, str(target), labels.file_word(target))))
    path = FOLDER / image.job.folder / f"{word}.png"
    write_image(folder / path, picture)
    return {"method": method, "target": target, "path": path.as_posix(), "style": style}


def _outlined(picture: np.ndarray, image: ScoredImage, classes: Sequence[int]) -> np.ndarray:
    """Return a copy of the picture, with the classes' regions outlined in white edged in black."""
    picture = np.ascontiguousarray(picture).copy()
    height, width = picture.shape[:2]
    unit = _line_width(picture)
    for index in classes:
        if image.seen is None or index not in image.seen.classes:
            continue
        mask = cv2.resize(image.seen.mask(index).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, _BLACK, 3 * unit)
        cv2.drawContours(picture, outlines, -1, _WHITE, unit)
    return picture


def _draw_point(picture: np.ndarray, scored: PixelMap, size: tuple[int, int]) -> None:
    """Draw a ring around the maximum of a map that was scored at resolution `size`."""
    row, column = point(scored.resized(size))
    scale = picture.shape[0] / size[0], picture.shape[1] / size[1]
    center = round((column + 0.5) * scale[1]), round((row + 0.5) * scale[0])
    axes = round(PointingGame.tolerance * scale[1]), round(PointingGame.tolerance * scale[0])
    unit = _line_width(picture)
    for color, width in ((_BLACK, 3 * unit), (_WHITE, unit)):
        cv2.ellipse(picture, center, axes, 0, 0, 360, color, width, cv2.LINE_AA)
        cv2.circle(picture, center, unit, color, width, cv2.LINE_AA)


def _line_width(picture: np.ndarray) -> int:
    return max(1, round(max(picture.shape[:2]) / 400))
