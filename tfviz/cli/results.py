"""Write the `tfviz explain` results: the maps and a record of each image."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfviz.atomic_files import remove_unfinished, write_atomically
from tfviz.class_scores import ClassScores
from tfviz.cli.array_files import Arrays
from tfviz.cli.jobs import Job, placed
from tfviz.cli.plan import Plan
from tfviz.cli.run_arguments import stamp_of
from tfviz.cli.run_store import Record, RunStore
from tfviz.errors import ImageError
from tfviz.image_rows import about_image, about_map, about_names
from tfviz.images import shown, write_image
from tfviz.methods.explainer import Explainer
from tfviz.render.canvas import Canvas
from tfviz.render.overlays import Look, Underlay
from tfviz.render.strength import SCALES, Strength, common_limit, strengths_of
from tfviz.row_columns import failure

_IMAGES = "images"


class Results:
    """The results in the output folder, with a record of each image. Files are written atomically.

    Attributes:
        jobs: the images of this run, each with its results folder.
        pending: the images that are not finished.
        failures: the images that could not be explained in this run, each with the reason.
        failure_lines: one line per failure, to print at the end.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        store: RunStore,
        jobs: Sequence[Job],
        *,
        scale: str = "map",
        underlay: Underlay = "gray",
        is_raw: bool = False,
        has_pictures: bool = True,
    ) -> None:
        """Find the images that earlier runs finished, and remove temporary files from killed runs.

        Args:
            folder: the output folder.
            plan: the run's plan.
            store: the output folder's records.
            jobs: the images of this run.
            scale: the color scale for the maps in an image's folder, "map" or "image". If there are
                several targets, a subfolder holds the maps on the other scale.
            underlay: how to draw the image under the maps, "gray" or "color".
            is_raw: whether to also write the maps as arrays.
            has_pictures: whether to draw the images and maps.
        """
        self.folder, self.plan, self.store = folder, plan, store
        self.scale, self.look = scale, Look(underlay=underlay)
        # Each image gets its own canvas when it is drawn.
        self.canvas = plan.inputs.canvas() if isinstance(plan.inputs, Arrays) else Canvas([])
        self.is_raw, self.has_pictures = is_raw, has_pictures
        self.failures: dict[Job, str] = {}
        self.failure_lines: list[str] = []
        self._open: dict[Job, Record] = {}  # records that are not stored yet
        self._scores: dict[Job, ClassScores | None] = {}
        self._lock = threading.Lock()
        # The number of each image's latest record, keyed by image.
        self._latest: dict[str, int] = {}
        self._next = 0  # the next record's number
        for record in self._stored():
            self._note(record)
        finished, self._errors, known = self._earlier(jobs)
        self.jobs = placed(jobs, known)
        self.pending = [job for job in self.jobs if job.key not in finished]
        self._places = {job: place for place, job in enumerate(self.jobs)}
        self._remove_unfinished_files()

    # --- earlier runs -----------------------------------------------------------------------------

    def _earlier(self, jobs: Sequence[Job]) -> tuple[set[str], dict[str, str], dict[str, tuple[str, str]]]:
        """Return the keys of finished images, and each image's earlier error, folder and name."""
        own = {job.key: job for job in jobs}
        finished: set[str] = set()
        errors: dict[str, str] = {}
        known: dict[str, tuple[str, str]] = {}
        for record in self.records():
            key = record["key"]
            known[key] = record["folder"], record["name"]
            if record["image"].get("error"):  # retried, because the file may have been repaired
                errors[key] = record["image"]["error"]
            elif key in own and record["is_whole"] and self._is_current(own[key], record):
                finished.add(key)
        return finished, errors, known

    def _is_current(self, job: Job, record: Record) -> bool:
        """Return whether the image is unchanged and its results still exist."""
        try:
            is_same = stamp_of(job.path) == record["stamp"]
        except OSError:  # the batch reader reports the error
            return False
        return is_same and all((self.folder / file).is_file() for file in files_of(record))

    def _remove_unfinished_files(self) -> None:
        """Remove the temporary files that a killed run may have left behind."""
        for folder in dict.fromkeys(self.folder / part for part in [Path(), *(job.folder for job in self.pending)]):
            for scale in ("", *(f"{scale}-scale" for scale in SCALES)):
                remove_unfinished(folder / scale)

    def records(self) -> Iterator[Record]:
        """Yield the latest record of each image, in the order the records were stored."""
        return (record for number, record in enumerate(self._stored()) if self._latest[record["key"]] == number)

    @property
    def is_empty(self) -> bool:
        """True if no image has a record."""
        return not self._latest

    def _stored(self) -> Iterator[Record]:
        return (record for part in self.store.records() if part["kind"] == _IMAGES for record in part[_IMAGES])

    # --- this run ---------------------------------------------------------------------------------

    def add_image(self, job: Job, image: np.ndarray, scores: ClassScores | None) -> None:
        """Write the image and record its scores."""
        (picture,) = self._canvas_of(image).pictures
        if self.has_pictures:
            write_image(self.folder / job.folder / "image.png", picture)
        row = about_image(str(job.path), picture.shape[:2], scores)
        row |= about_names(row, job.path, self.plan.labels, self.plan.classifier.classes)
        with self._lock:
            self._scores[job] = scores
            self._open[job] = self._record(job, row)

    def _record(self, job: Job, row: Record) -> Record:
        try:
            stamp = stamp_of(job.path)
        except OSError:
            stamp = None
        about = {"key": job.key, "name": job.name, "folder": job.folder.as_posix(), "stamp": stamp}
        return {**about, "is_whole": False, "has_picture": self.has_pictures, "image": row, "maps": []}

    def add_maps(
        self,
        job: Job,
        image: np.ndarray,
        explainer: Explainer,
        targets: Sequence[int | None],
        attributions: Sequence[np.ndarray],
    ) -> None:
        """Write one method's maps drawn over the image and, if `is_raw` is set, also as arrays.

        Args:
            job: the job for an image that was passed to `add_image`.
            image: the image, signal or volume.
            explainer: the method.
            targets: the explained classes, or [None] for a method without a target.
            attributions: one attribution per target.

        Raises:
            ImageError: a map contains NaN.
        """
        if job in self.failures:
            return
        # The dict removes duplicates, because a class may be given both by name and by rank.
        found = dict(zip(targets, attributions, strict=True))
        canvas = self._canvas_of(image)
        maps = [canvas.maps([one])[0] for one in found.values()]
        names = ["" if target is None else self.plan.labels.name(target) for target in found]
        style = canvas.style(explainer.style)
        strengths = strengths_of(explainer.key, maps, names, style, self._index_of_top(job, list(found)))
        files = [self._paths(job, explainer, target, len(maps)) for target in found]
        if self.has_pictures:
            self._draw(canvas, style, list(found.values()), strengths, files)
        for target, attribution, strength, paths in zip(found, found.values(), strengths, files, strict=True):
            array = paths[self.scale].with_suffix(".npy") if self.is_raw else None
            if array is not None:
                self._write_array(array, attribution)
            drawn = {scale: path.as_posix() for scale, path in paths.items()} if self.has_pictures else {}
            self._open[job]["maps"].append(
                {
                    **about_map(explainer, target, self.plan.labels),
                    "strength": strength.value,
                    "file": drawn.get(self.scale, array and array.as_posix()),
                    "other_file": next((path for scale, path in drawn.items() if scale != self.scale), None),
                    "array": array and array.as_posix(),
                    "style": style,
                    "words": strength.words,
                    "score": self._score(job, target),
                    "is_blank": not attribution.any(),
                    "is_nearly_empty": strength.is_nearly_empty,
                }
            )

    def _draw(
        self,
        canvas: Canvas,
        style: str,
        attributions: Sequence[np.ndarray],
        strengths: Sequence[Strength],
        files: Sequence[dict[str, Path]],
    ) -> None:
        shared = common_limit(strengths)
        for attribution, strength, paths in zip(attributions, strengths, files, strict=True):
            limits = {"map": strength.limit, "image": shared}
            values = canvas.placed(attribution, 0)
            for scale, path in paths.items():
                write_image(self.folder / path, canvas.drawn(values, 0, style, self.look, limits[scale]))

    def _canvas_of(self, image: np.ndarray) -> Canvas:
        inputs = self.plan.inputs
        return inputs.canvas(image) if isinstance(inputs, Arrays) else Canvas([image])

    def _paths(self, job: Job, explainer: Explainer, target: int | None, count: int) -> dict[str, Path]:
        """Return a map file's path for each scale, relative to the output folder."""
        path = job.folder / f"{self._stem(explainer, target)}.png"
        others = [scale for scale in SCALES if scale != self.scale and count > 1]
        return {self.scale: path} | {scale: job.folder / f"{scale}-scale" / path.name for scale in others}

    def _index_of_top(self, job: Job, targets: Sequence[int | None]) -> int | None:
        """Return the top class's position among the targets, or None if it is not a target."""
        scores = self._scores[job]
        top = None if scores is None else int(scores.ranked[0])
        return targets.index(top) if top is not None and top in targets else None

    def _score(self, job: Job, target: int | None) -> float | None:
        scores = self._scores[job]
        return None if scores is None or target is None else float(scores.values[target])

    def _stem(self, explainer: Explainer, target: int | None) -> str:
        if target is None or self.plan.is_top_only:
            return explainer.key
        word = self.plan.labels.file_word(target)
        return "-".join(dict.fromkeys((explainer.key, str(target), word)))

    def _write_array(self, path: Path, attribution: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, np.asarray(attribution, np.float32))
        write_atomically(self.folder / path, content.getvalue())

    def fail(self, job: Job, error: ImageError) -> str:
        """Record that an image cannot be explained, and return a line that states the reason."""
        path, reason = shown(job.path), str(error)
        row = failure(str(job.path), error)
        row |= about_names(row, job.path, self.plan.labels, self.plan.classifier.classes)
        line = reason if path in reason else f"{path}: {reason}"
        with self._lock:
            self.failures[job] = reason.removeprefix(path).strip()
            self.failure_lines.append(line)
            self._scores.pop(job, None)
            self._open[job] = self._record(job, row)
        return line

    def finish(self, last: Job | None = None) -> None:
        """Store the records of all images up to `last`. Their results must already be written.

        Args:
            last: the last image. None means all images.

        Raises:
            OutputError: the records cannot be written, or the folder was removed.
        """
        self._store(len(self.jobs) if last is None else self._places[last], is_whole=True)

    def keep_unfinished(self) -> None:
        """Store the records of unfinished images for the page.

        A later run explains these images again.
        """
        self._store(len(self.jobs), is_whole=False)

    def _store(self, last: int, *, is_whole: bool) -> None:
        with self._lock:
            done = sorted((job for job in self._open if self._places[job] <= last), key=self._places.__getitem__)
            records = [self._open.pop(job) | {"is_whole": is_whole} for job in done]
            for job in done:
                self._scores.pop(job, None)
        new = [one for one in records if not self._is_known_failure(one)]
        if new:
            self.store.add({"kind": _IMAGES, _IMAGES: new})
            for record in new:
                self._note(record)

    def _note(self, record: Record) -> None:
        self._latest[record["key"]] = self._next
        self._next += 1

    def _is_known_failure(self, record: Record) -> bool:
        error = record["image"].get("error")
        return error is not None and self._errors.get(record["key"]) == error


def files_of(record: Record) -> list[str]:
    """Return the paths of an image's result files, relative to the output folder."""
    pictures = [os.fspath(Path(record["folder"], "image.png"))] if record["has_picture"] else []
    return pictures + [one[kind] for one in record["maps"] for kind in ("file", "other_file", "array") if one[kind]]
