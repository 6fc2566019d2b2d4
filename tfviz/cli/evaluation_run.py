"""Score images for `tfviz evaluate` and draw the scored maps."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from tfviz.class_scores import ClassScores, ranked_classes
from tfviz.cli.evaluation_arguments import arguments_of
from tfviz.cli.jobs import Job
from tfviz.cli.plan import plan_for
from tfviz.cli.run_arguments import stamp_of
from tfviz.cli.run_store import Record
from tfviz.cli.score_store import ScoreStore
from tfviz.cli.scored_images import ScoredImage, draw_maps
from tfviz.cli.terminal import Progress
from tfviz.errors import ImageError, OptionError, TfvizError, UnsupportedModelError, shown
from tfviz.images.batches import ImageBatch, read_batches
from tfviz.metrics.annotations import AnnotatedImage, read_annotations
from tfviz.metrics.annotations.image_matches import matched
from tfviz.metrics.image_scores import ImageScorer, ScoreRow
from tfviz.metrics.sanity import scores_by_method
from tfviz.render.pictures import MAX_DRAWN_SIDE_PX

SANITY = "sanity"
SANITY_IMAGES = 16
_MOST_PREDICTIONS = 5
_GROUPS = ("default", "all")


class EvaluationRun:
    """One run of `tfviz evaluate`.

    Attributes:
        plan: the model's methods, labels and target classes.
        jobs: the images to score.
        store: the finished parts of the run.
        failures: the images that could not be evaluated, each with the reason.
    """

    def __init__(self, args: argparse.Namespace, jobs: Sequence[Job], progress: Progress) -> None:
        """Check the arguments, load the model and open the output folder.

        Raises:
            TfvizError: the arguments are incompatible with the model or with each other.
        """
        self.plan = plan_for(args, progress.say)
        self.model: keras.Model = self.plan.explainers[0].model
        self.jobs, self.folder, self.seed = list(jobs), args.output, args.seed
        self.batch_size: int = args.batch_size
        self.failures: dict[Job, str] = {}
        self._progress = progress
        if self.plan.classifier.classes is not None:  # Check --targets now, before any scoring.
            zeros = np.zeros((1, self.plan.classifier.classes), np.float32)
            self._targets(ClassScores(zeros, ranked_classes(zeros)))
        self._scorer = self._scorer_for(args)
        self._has_sanity = any(name.lower() in (SANITY, *_GROUPS) for name in args.metrics)
        self._annotated = self._annotations(args)
        self.store = ScoreStore(args.output, arguments_of(args, self.plan, jobs), overwrite=args.overwrite)

    def _scorer_for(self, args: argparse.Namespace) -> ImageScorer | None:
        names = [name for name in args.metrics if name.lower() != SANITY]
        if not names:
            return None
        methods = {explainer.key: explainer for explainer in self.plan.explainers}
        options: dict[str, Any] = {"batch_size": args.batch_size, "seed": args.seed}
        return ImageScorer(self.model, methods, names, has_regions=args.boxes is not None, **options)

    def _annotations(self, args: argparse.Namespace) -> dict[int, AnnotatedImage]:
        if args.boxes is None:
            return {}
        say = self._progress.say
        images = read_annotations(args.boxes, self.plan.labels, self.plan.classifier.classes or 0, say)
        found, missing = matched(images, [job.path for job in self.jobs])
        if missing:
            say(f"Note: {len(missing)} annotated images are not among the given images, for example '{shown(missing[0])}'.")
        if others := len(self.jobs) - len(found):
            say(f"Note: {others} of {len(self.jobs)} images have no annotations. Metrics that need annotations skip them.")
        return found

    # --- images -----------------------------------------------------------------------------------

    def score_all(self) -> None:
        """Score the images that are not finished yet, then run the sanity checks."""
        finished = {record["name"]: record["stamp"] for record in self.store.of_kind("image")}
        pending = [place for place, job in enumerate(self.jobs) if not self._is_finished(job, finished)]
        self._done = len(self.jobs) - len(pending)

        def fail(number: int, error: TfvizError) -> None:
            self._fail(pending[number], error)

        batches = read_batches(
            [self.jobs[place].path for place in pending],
            self.plan.preprocessing,
            self.batch_size,
            fail,
            max_side_px=MAX_DRAWN_SIDE_PX,
        )
        for batch in batches:
            places = [pending[number] for number in batch.numbers]
            try:
                self._score(batch, places)
            except ImageError as error:  # The model does not accept this image size.
                for place in places:
                    self._fail(place, error)
        if self._has_sanity:
            self._check_sanity()

    @staticmethod
    def _is_finished(job: Job, finished: dict[str, list[int]]) -> bool:
        try:
            return finished.get(str(job.folder)) == stamp_of(job.path)
        except OSError:  # the batch reader reports the error
            return False

    def _fail(self, place: int, error: TfvizError) -> None:
        job = self.jobs[place]
        if job not in self.failures:
            path, reason = shown(job.path), str(error)
            self.failures[job] = reason.removeprefix(path).strip()
            self._progress.say(f"Skipped: {reason if path in reason else f'{path}: {reason}'}")
            self._done += 1

    def _score(self, batch: ImageBatch, places: Sequence[int]) -> None:
        scores = self.plan.classifier.scores(batch.tensors)
        if scores is None:
            raise UnsupportedModelError(
                "This model is not a classifier with a single output (N, classes), so it cannot be evaluated. Choose another "
                "--model."
            )
        targets = self._targets(scores)
        found = [self._scored_image(batch, row, place, scores[row], targets[row]) for row, place in enumerate(places)]
        images = [one for one in found if one is not None]
        if not images:
            return
        self._show("drawing maps", images[0].job)
        maps = draw_maps(self.folder, images, self.plan.explainers, self.plan.labels, self.batch_size)
        for one, own, rows in zip(images, maps, self._rows(images), strict=True):
            self._show("scoring", one.job)
            self._add(one, own, rows)

    def _targets(self, scores: ClassScores) -> np.ndarray:
        columns = [] if self.plan.targets is None else self.plan.targets.columns(scores)
        if len(columns) != 1:
            raise OptionError(
                f'Expected one class, or "top", for --targets. Received: {len(columns)} classes. Run the command once per '
                "class."
            )
        return columns[0]

    def _scored_image(self, batch: ImageBatch, row: int, place: int, scores: ClassScores, target: int) -> ScoredImage | None:
        """Return an image with its regions, or None if the annotations don't fit the image."""
        regions = None
        if place in self._annotated:
            try:
                regions = self._annotated[place].regions(batch.sizes[row], scores.values)
            except OptionError as error:
                self._fail(place, error)
                return None
        seen = None if regions is None else regions.cropped(*self.plan.preprocessing.crop_box(*batch.sizes[row]))
        classes = dict.fromkeys([int(target), *(seen.classes if seen else ())])
        return ScoredImage(self.jobs[place], place, batch.images[row], batch.tensors[row], scores, list(classes), regions, seen)

    def _rows(self, images: Sequence[ScoredImage]) -> Iterator[list[ScoreRow]]:
        """Yield each image's scores."""
        if self._scorer is None:
            yield from ([] for _ in images)
            return
        tensors, targets = np.stack([one.tensor for one in images]), np.array([one.classes[0] for one in images])
        boxes = [one.regions for one in images] if self._annotated else None
        yield from self._scorer.score_images(tensors, boxes, targets)
        for note in self._scorer.notes:
            self._note(note)

    def _add(self, image: ScoredImage, maps: Sequence[Record], rows: Sequence[ScoreRow]) -> None:
        best = image.scores.ranked[:_MOST_PREDICTIONS].tolist()
        self.store.add(
            {
                "kind": "image",
                "name": str(image.job.folder),
                "stamp": stamp_of(image.job.path),
                "size": image.image.shape[:2],
                "predictions": [(index, float(image.scores.values[index])) for index in best],
                "target": image.classes[0],
                "maps": list(maps),
                "scores": [{**row, "image": image.place} for row in rows],
            }
        )
        self._done += 1

    def _note(self, text: str) -> None:
        if text not in [record["text"] for record in self.store.of_kind("note")]:
            self.store.add({"kind": "note", "text": text})

    def _show(self, what: str, job: Job) -> None:
        self._progress.show(self._done, f"{what}, {job.name}")

    # --- sanity checks ----------------------------------------------------------------------------

    def _check_sanity(self) -> None:
        """Run the remaining sanity checks on the first images that could be evaluated."""
        finished = {record["method"] for record in self.store.of_kind(SANITY)}
        explainers = [one for one in self.plan.explainers if one.key not in finished]
        paths = [job.path for job in self.jobs if job not in self.failures][:SANITY_IMAGES]
        batch = next(read_batches(paths, self.plan.preprocessing, SANITY_IMAGES, lambda *_: None), None) if explainers else None
        if batch is None:
            return
        scores = self.plan.classifier.scores(batch.tensors)
        targets = None if scores is None else self._targets(scores)
        options: dict[str, Any] = {"targets": targets, "batch_size": self.batch_size, "seed": self.seed}
        try:
            self._progress.show(self._done, f"sanity check of {explainers[0].key}")
            for number, found in enumerate(scores_by_method(self.model, batch.tensors, explainers, **options)):
                self.store.add({"kind": SANITY, "method": explainers[number].key, "scores": [asdict(one) for one in found]})
                self._progress.show(self._done, f"sanity check of {explainers[min(number + 1, len(explainers) - 1)].key}")
        except UnsupportedModelError as error:
            self._note(f"The sanity checks were skipped. {error}")
            self._progress.say(f"Note: The sanity checks were skipped: {error}")
