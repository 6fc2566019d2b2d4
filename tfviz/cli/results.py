"""What is written: pictures, maps and arrays into one folder for each picture, and the page about them."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np

from tfviz.cli.batches import Picture
from tfviz.cli.jobs import Job
from tfviz.errors import ImageError
from tfviz.images import shown, write_image
from tfviz.labels import Labels
from tfviz.methods.explainer import Explainer
from tfviz.render import GalleryEntry, GalleryMap, overlay, title_of
from tfviz.writing import write_atomically

_MOST_PREDICTIONS = 5
_MAX_NAME_LENGTH = 40  # letters of a class's name in a file's name


class Results:
    """The output folder as it fills. Every file appears whole or not at all."""

    def __init__(self, folder: Path, labels: Labels, *, is_top_only: bool, is_raw: bool) -> None:
        self.folder = folder
        self.labels = labels
        self.is_top_only = is_top_only
        self.is_raw = is_raw
        self.entries: dict[Job, GalleryEntry] = {}
        self._maps: dict[Job, list[GalleryMap]] = {}
        self.failures: dict[Job, str] = {}
        self.failure_lines: list[str] = []
        self.blank_maps: Counter[str] = Counter()  # by the method's key

    def add_picture(self, picture: Picture, scores: np.ndarray | None) -> None:
        """Writes the picture itself and notes what the model says, scores (classes,), about it."""
        job, path = picture.job, picture.job.folder / "image.png"
        write_image(self.folder / path, picture.shown)
        height, width = picture.shown.shape[:2]
        self._maps[job] = []
        self.entries[job] = GalleryEntry(job.name, path, self._best(scores), self._maps[job], (height, width))

    def _best(self, scores: np.ndarray | None) -> list[tuple[str, float]]:
        if scores is None:
            return []
        best = np.argsort(-scores, kind="stable")[:_MOST_PREDICTIONS]
        return [(self.labels.name(int(index)), float(scores[index])) for index in best]

    def add_map(self, picture: Picture, explainer: Explainer, target: int | None, attribution: np.ndarray) -> None:
        """Writes one method's map of a picture, and the array if asked for. Raises ImageError for NaN in the map."""
        if picture.job in self.failures:
            return
        path = picture.job.folder / f"{self._stem(explainer, target)}.png"
        maps = self._maps[picture.job]
        if any(path == one.path for one in maps):  # one class, asked for by name and by rank
            return
        write_image(self.folder / path, overlay(picture.shown, attribution, style=explainer.style))
        self.blank_maps[explainer.key] += not attribution.any()
        if self.is_raw:
            self._write_array(path.with_suffix(".npy"), attribution)
        word = "" if target is None else self.labels.name(target)
        maps.append(GalleryMap(title_of(explainer.key), word, path, explainer.style))

    def _stem(self, explainer: Explainer, target: int | None) -> str:
        if target is None or self.is_top_only:
            return explainer.key
        return "-".join(filter(None, (explainer.key, str(target), self._word(target))))

    def _word(self, target: int) -> str:
        """A class's first name, as a part of a file's name; "" where it has none."""
        name = self.labels.name(target)
        if name == f"class {target}":
            return ""
        return re.sub(r"\W+", "_", name.split(",")[0]).strip("_")[:_MAX_NAME_LENGTH]

    def _write_array(self, path: Path, attribution: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, np.asarray(attribution, np.float32))
        write_atomically(self.folder / path, content.getvalue())

    def fail(self, job: Job, error: ImageError) -> str:
        """Notes that a picture cannot be explained, and returns the line about it; it is taken off the page."""
        self.entries.pop(job, None)
        path, reason = shown(job.path), str(error)
        self.failures[job] = reason.removeprefix(path).strip()
        self.failure_lines.append(reason if path in reason else f"{path}: {reason}")
        return self.failure_lines[-1]

    @property
    def count(self) -> int:
        """How many pictures have been begun or given up."""
        return len(self.entries) + len(self.failures)
