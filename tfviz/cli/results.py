"""Write the results of `tfviz explain`: a folder of maps per image, the page and the summary."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.class_scores import ClassScores
from tfviz.cli.jobs import Job
from tfviz.cli.plan import Plan
from tfviz.errors import ImageError
from tfviz.images import shown, write_image
from tfviz.methods.explainer import Explainer
from tfviz.render import GalleryEntry, GalleryFailure, GalleryMap, title_of, write_gallery
from tfviz.render.overlays import Look, Underlay, blended
from tfviz.render.pictures import maps_of
from tfviz.render.strength import SCALES, common_limit, strengths_of

_MOST_PREDICTIONS = 5


class Results:
    """The output folder and a record of its content. Each file appears complete or not at all."""

    def __init__(self, folder: Path, plan: Plan, *, scale: str, underlay: Underlay, is_raw: bool) -> None:
        """Start with no images.

        Args:
            folder: the output folder.
            plan: the plan of the run.
            scale: the scale of the maps in an image's folder, "map" or "image". If there are
                several targets, a subfolder holds the maps on the other scale.
            underlay: the style of the image under the maps.
            is_raw: whether to write the maps as arrays too.
        """
        self.folder = folder
        self.plan = plan
        self.labels = plan.labels
        self.scale = scale
        self.look = Look(underlay=underlay)
        self.is_raw = is_raw
        self.entries: dict[Job, GalleryEntry] = {}
        self._maps: dict[Job, list[GalleryMap]] = {}
        self._scores: dict[Job, ClassScores | None] = {}
        self._folders: dict[str, int | None] = {}  # the class that each folder is named after
        self.failures: dict[Job, str] = {}
        self.failure_lines: list[str] = []
        self.blank_maps: Counter[str] = Counter()  # by the key of the method
        self.nearly_empty_maps: Counter[str] = Counter()

    def add_image(self, job: Job, image: np.ndarray, scores: ClassScores | None) -> None:
        """Write the image and record its scores."""
        path = job.folder / "image.png"
        write_image(self.folder / path, image)
        self._maps[job], self._scores[job] = [], scores
        kind, truth = self.plan.classifier.kind, None if scores is None else self._true_class(job, scores)
        self.entries[job] = GalleryEntry(
            job.name,
            path,
            self._best(scores),
            self._maps[job],
            image.shape[:2],
            kind,
            truth="" if truth is None else self.labels.name(truth),
            is_right=None if truth is None or scores is None else truth == int(scores.ranked[0]),
        )

    def _true_class(self, job: Job, scores: ClassScores) -> int | None:
        """Return the class that the image's folder is named after, or None."""
        folder = job.path.absolute().parent.name
        if folder not in self._folders:
            self._folders[folder] = self.labels.index_of_folder(folder)
        index = self._folders[folder]
        return index if index is not None and index < len(scores) else None

    def _best(self, scores: ClassScores | None) -> list[tuple[str, float]]:
        if scores is None:
            return []
        best = scores.ranked[:_MOST_PREDICTIONS]
        return [(self.labels.name(int(index)), float(scores.values[index])) for index in best]

    def add_maps(
        self,
        job: Job,
        image: np.ndarray,
        explainer: Explainer,
        targets: Sequence[int | None],
        attributions: Sequence[np.ndarray],
    ) -> None:
        """Write one method's maps over the image, and the arrays with `is_raw`.

        Args:
            job: an image that was added.
            image: its pixels.
            explainer: the method.
            targets: the explained classes, or None for a method without a target.
            attributions: one attribution per target.

        Raises:
            ImageError: a map contains NaN.
        """
        if job in self.failures:
            return
        # The dict drops a class that was given both by name and by rank.
        found = dict(zip(targets, attributions, strict=True))
        maps = maps_of(list(found.values()), count=len(found))
        names = ["" if target is None else self.labels.name(target) for target in found]
        strengths = strengths_of(explainer.key, maps, names, explainer.style, self._index_of_top(job, list(found)))
        limits = {"map": [one.limit for one in strengths], "image": [common_limit(strengths)] * len(maps)}
        for index, (target, attribution) in enumerate(found.items()):
            path = job.folder / f"{self._stem(explainer, target)}.png"
            paths = {self.scale: path}
            if len(maps) > 1:
                paths |= {scale: job.folder / f"{scale}-scale" / path.name for scale in SCALES if scale != self.scale}
            for scale, file in paths.items():
                drawn = blended(image, maps[index], explainer.style, self.look, limits[scale][index])
                write_image(self.folder / file, drawn)
            if self.is_raw:
                self._write_array(path.with_suffix(".npy"), attribution)
            self.blank_maps[explainer.key] += not attribution.any()
            self.nearly_empty_maps[explainer.key] += strengths[index].is_nearly_empty
            about = (title_of(explainer.key), names[index], path, explainer.style)
            other = next((file for scale, file in paths.items() if scale != self.scale), None)
            self._maps[job].append(GalleryMap(*about, self._score(job, target), strengths[index].words, other))

    def _index_of_top(self, job: Job, targets: Sequence[int | None]) -> int | None:
        """Return the position of the top class among the targets."""
        scores = self._scores[job]
        top = None if scores is None else int(scores.ranked[0])
        return targets.index(top) if top is not None and top in targets else None

    def _score(self, job: Job, target: int | None) -> float | None:
        scores = self._scores[job]
        return None if scores is None or target is None else float(scores.values[target])

    def _stem(self, explainer: Explainer, target: int | None) -> str:
        if target is None or self.plan.is_top_only:
            return explainer.key
        word = self.labels.file_word(target)
        return "-".join(dict.fromkeys((explainer.key, str(target), word)))

    def _write_array(self, path: Path, attribution: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, np.asarray(attribution, np.float32))
        write_atomically(self.folder / path, content.getvalue())

    def fail(self, job: Job, error: ImageError) -> str:
        """Record that an image cannot be explained, drop it from the page and return the reason."""
        self.entries.pop(job, None)
        path, reason = shown(job.path), str(error)
        self.failures[job] = reason.removeprefix(path).strip()
        self.failure_lines.append(reason if path in reason else f"{path}: {reason}")
        return self.failure_lines[-1]

    @property
    def count(self) -> int:
        """The number of images that were started, including failures."""
        return len(self.entries) + len(self.failures)


def write_page(results: Results) -> Path | None:
    """Write index.html and return its path. If there are no results, keep an older page."""
    if not results.entries and not results.failures:
        return None
    plan, layers = results.plan, ", ".join(results.plan.layers)
    return write_gallery(
        results.folder,
        list(results.entries.values()),
        title=f"What {plan.model_name} looks at",
        subtitle=f"Layer: {layers}" if layers else "",
        failures=[GalleryFailure(job.name, reason) for job, reason in results.failures.items()],
        questions={title_of(explainer.key): explainer.question for explainer in plan.explainers},
        scale=results.scale,
        look=results.look,
        is_merged=True,
    )


def closing_lines(results: Results, page: Path | None, total: int, is_stopped: bool) -> list[str]:
    """Return the summary: the number of explained images, the page, notes and failures."""
    where = f": {shown(page)}" if page else ""
    if is_stopped:
        return [f"Stopped after {len(results.entries)} of {total} images; finished maps are kept{where}"]
    methods = len(results.plan.explainers)
    lines = [f"Explained {len(results.entries)} of {total} images with {methods} method{'s' * (methods > 1)}{where}"]
    lines += [f"Note: {key} is zero everywhere on {_maps(count)}" for key, count in results.blank_maps.items() if count]
    for key, count in results.nearly_empty_maps.items():
        if count:
            lines.append(f"Note: {key} is nearly empty on {_maps(count)}, which {'are' if count > 1 else 'is'} drawn dimmed")
    return lines + [f"Not explained: {line}" for line in results.failure_lines]


def _maps(count: int) -> str:
    return f"{count} map{'s' * (count > 1)}"
