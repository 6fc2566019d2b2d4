"""What `tfviz explain` writes: a folder of overlays and maps for each image, the page, and the closing lines."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.class_scores import ranked_classes
from tfviz.cli.jobs import Job
from tfviz.cli.plan import Plan
from tfviz.errors import ImageError
from tfviz.images import shown, write_image
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import Labels
from tfviz.render import GalleryEntry, GalleryFailure, GalleryMap, overlay, title_of, write_gallery

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

    def add_image(self, job: Job, image: np.ndarray, scores: np.ndarray | None) -> None:
        """Writes the image that maps are drawn on, and notes the model's scores (classes,) of it."""
        path = job.folder / "image.png"
        write_image(self.folder / path, image)
        height, width = image.shape[:2]
        self._maps[job] = []
        self.entries[job] = GalleryEntry(job.name, path, self._best(scores), self._maps[job], (height, width))

    def _best(self, scores: np.ndarray | None) -> list[tuple[str, float]]:
        if scores is None:
            return []
        best = ranked_classes(scores)[:_MOST_PREDICTIONS]
        return [(self.labels.name(int(index)), float(scores[index])) for index in best]

    def add_map(self, job: Job, image: np.ndarray, explainer: Explainer, target: int | None, attribution: np.ndarray) -> None:
        """Writes one method's map over the image, and the array if asked for. Raises ImageError for NaN in the map."""
        if job in self.failures:
            return
        path = job.folder / f"{self._stem(explainer, target)}.png"
        maps = self._maps[job]
        if any(path == one.path for one in maps):  # one class, asked for by name and by rank
            return
        write_image(self.folder / path, overlay(image, attribution, style=explainer.style))
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
        """Notes that an image cannot be explained, removes it from the page, and returns the line about it."""
        self.entries.pop(job, None)
        path, reason = shown(job.path), str(error)
        self.failures[job] = reason.removeprefix(path).strip()
        self.failure_lines.append(reason if path in reason else f"{path}: {reason}")
        return self.failure_lines[-1]

    @property
    def count(self) -> int:
        """The number of images that were begun or given up."""
        return len(self.entries) + len(self.failures)


def write_page(plan: Plan, results: Results) -> Path | None:
    """Writes index.html about all there is; None, and an older page stays, where there is nothing to tell."""
    if not results.entries and not results.failures:
        return None
    layers = ", ".join(plan.layers)
    return write_gallery(
        results.folder,
        list(results.entries.values()),
        title=f"What {plan.model_name} looks at",
        subtitle=f"Layer: {layers}" if layers else "",
        failures=[GalleryFailure(job.name, reason) for job, reason in results.failures.items()],
        questions={title_of(explainer.key): explainer.question for explainer in plan.explainers},
    )


def closing_lines(plan: Plan, results: Results, page: Path | None, total: int, is_stopped: bool) -> list[str]:
    """The last lines: how many images are explained, where they are, and which are not and why."""
    place = f": {shown(page)}" if page else ""
    if is_stopped:
        return [f"Stopped after {len(results.entries)} of {total} images; what was made stays{place}"]
    methods = len(plan.explainers)
    lines = [f"{len(results.entries)} of {total} images explained by {methods} method{'s' * (methods > 1)}{place}"]
    lines += [f"Note: {key} is zero everywhere on {_maps(count)}" for key, count in results.blank_maps.items() if count]
    return lines + [f"Not explained: {line}" for line in results.failure_lines]


def _maps(count: int) -> str:
    return f"{count} map{'s' * (count > 1)}"
