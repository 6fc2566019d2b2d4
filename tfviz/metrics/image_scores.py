"""Score maps image by image, so that a long evaluation can be interrupted and resumed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfviz.errors import ImageError, OptionError
from tfviz.methods.batches import BatchReader
from tfviz.methods.inputs import checked_images
from tfviz.metrics import sources as map_sources
from tfviz.metrics.class_targets import ClassTargets
from tfviz.metrics.controls import CONTROLS
from tfviz.metrics.forward_passes import ForwardPasses
from tfviz.metrics.lookup import Metrics, metrics_named
from tfviz.metrics.metric import Case, Metric, Score
from tfviz.metrics.pixel_maps import PixelMap, Size, reduction
from tfviz.metrics.pixel_order import tie_permutation
from tfviz.metrics.regions import Regions
from tfviz.metrics.removal_color import removal_color
from tfviz.metrics.sources import Methods, Source
from tfviz.metrics.visible_regions import AnyRegions, visible_regions
from tfviz.models.loading import labels_of
from tfviz.targets import Target

ScoreRow: TypeAlias = dict[str, Any]  # one JSON-serializable score; see `_row` for its keys


@dataclass(frozen=True)
class _Image:
    """One image and the model's outputs for it."""

    number: int
    pixels: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    target: int
    regions: Regions | None


class ImageScorer:
    """Scores methods on images, batch by batch.

    Attributes:
        metrics: the metrics.
        notes: notes of one or two sentences on what was skipped or assumed.
    """

    def __init__(
        self,
        model: keras.Model,
        methods: Methods = "all",
        metrics: Metrics = "default",
        *,
        has_regions: bool = False,
        controls: bool = True,
        reduce: str = "sum",
        mean_color: npt.ArrayLike | None = None,
        output: str | int | None = None,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        """Read the model and build the explainers.

        Args:
            model, methods, metrics, controls, reduce, mean_color, output, batch_size, seed: see
                `tfviz.evaluate`.
            has_regions: whether `score_images` will receive regions.

        Raises:
            TfvizError: as for `tfviz.evaluate`.
        """
        _require_positive(batch_size)
        reduction(reduce)
        self.metrics = metrics_named(metrics, has_regions=has_regions)
        self._forward = ForwardPasses(model, output=output, batch_size=batch_size)
        self._methods, self.notes = map_sources.sources_of(model, methods, output=output, reduce=reduce)
        self._model, self._mean_color, self._seed = model, mean_color, seed
        self._controls = CONTROLS if controls else {}
        self._has_controls = controls
        map_sources.require_distinct([*self._methods, *self._control_sources(self._controls, np.empty(0))])

    def score_images(
        self,
        images: Any,
        boxes: Sequence[AnyRegions] | None = None,
        targets: Target | str = None,
        *,
        done: Collection[int] = (),
    ) -> Iterator[list[ScoreRow]]:
        """Yield the scores for one image at a time.

        Args:
            images, boxes, targets: see `tfviz.evaluate`.
            done: the indices of images that have already been scored. These images are skipped.

        Yields:
            The scores for one image: dicts with the keys method, layer, metric, image, target,
            value, blank, forwards, is_control and curve.

        Raises:
            TfvizError: as for `tfviz.evaluate`.
        """
        images = np.asarray(images) if isinstance(images, (list, tuple)) or tf.is_tensor(images) else images
        reader = BatchReader(self._forward.graph, self._forward.batch_size)
        start = 0
        for batch in reader.batches(images):
            (tensor,) = checked_images(self._forward.graph, batch)
            pixels = tf.cast(tensor, tf.float32).numpy()
            if start == 0:
                self._begin(pixels, images, boxes, targets, reader.count(images))
            yield from self._scored(pixels, start, boxes, targets, done)
            start += len(pixels)
        if start == 0:
            raise ImageError("Expected at least one image. Received: none. Pass images or a non-empty dataset.")
        self._require_counts(boxes, targets, start)

    def _begin(
        self,
        pixels: np.ndarray,
        images: object,
        boxes: Sequence[AnyRegions] | None,
        targets: Target | str,
        count: int | None,
    ) -> None:
        """Prepare for scoring. Check as much of the input as possible before computing maps."""
        self._classes = self._forward.classes(pixels)
        self._color, note = removal_color(self._model, images, pixels.shape[-1], self._mean_color)
        if note and note not in self.notes:
            self.notes.append(note)
        self._permutation = tie_permutation(pixels.shape[1:3], self._seed)
        if count is not None:
            self._require_counts(boxes, targets, count)
        for number, regions in enumerate(boxes or ()):
            visible_regions(regions, number, self._model, pixels.shape[1:3], self._classes)

    def _require_counts(self, boxes: Sequence[AnyRegions] | None, targets: Target | str, count: int) -> None:
        for name, received in (("boxes", None if boxes is None else len(boxes)), ("targets", self._targets(targets).count)):
            if received not in (None, count):
                raise OptionError(
                    f"`{name}` must have one entry per image, {count} in total. Received: {received} entries. In `boxes`, "
                    "use None for an image without annotations. `targets` can also be a single class for all images."
                )

    def _targets(self, targets: Target | str) -> ClassTargets:
        return ClassTargets(targets, lambda: labels_of(self._model), self._classes)

    def _scored(
        self,
        pixels: np.ndarray,
        start: int,
        boxes: Sequence[AnyRegions] | None,
        targets: Target | str,
        done: Collection[int],
    ) -> Iterator[list[ScoreRow]]:
        chosen = [i for i in range(len(pixels)) if start + i not in done]
        if not chosen:
            return
        logits, probabilities = self._forward.all_classes(pixels[chosen])
        classes = self._targets(targets).rows(start, len(pixels))
        images = [
            _Image(
                start + i,
                pixels[i],
                logits[row],
                probabilities[row],
                int(logits[row].argmax()) if classes is None else int(classes[i]),
                self._regions_of(boxes, start + i, pixels.shape[1:3]),
            )
            for row, i in enumerate(chosen)
        ]
        maps = self._maps(images)
        for image in images:
            yield [row for target in self._targets_of(image) for row in self._rows(image, target, maps)]

    def _targets_of(self, image: _Image) -> list[int]:
        """Return the classes that the metrics score for an image.

        These are the image's target, all classes with a region, or both.
        """
        first = [image.target] if any(not metric.needs_regions for metric in self.metrics) else []
        regions = image.regions if any(metric.needs_regions for metric in self.metrics) else None
        located = () if regions is None else regions.classes
        return list(dict.fromkeys([*first, *located]))

    def _regions_of(self, boxes: Sequence[AnyRegions] | None, number: int, size: Size) -> Regions | None:
        given = boxes[number] if boxes is not None and number < len(boxes) else None
        return visible_regions(given, number, self._model, size, self._classes)

    # --- maps -------------------------------------------------------------------------------------

    def _control_sources(self, controls: Mapping[str, Any], permutation: np.ndarray) -> list[Source]:
        return [map_sources.control(name, map_of, permutation) for name, map_of in controls.items()]

    def _sources(self, metric: Metric) -> list[Source]:
        own = metric.controls if self._has_controls else {}
        return [*self._methods, *self._control_sources({**self._controls, **own}, self._permutation)]

    def _maps(self, images: Sequence[_Image]) -> dict[tuple[str, str | None, int, int], PixelMap]:
        """Compute the maps for all methods and controls, keyed by name, layer, image and class."""
        every = {(one.name, one.layer): one for metric in self.metrics for one in self._sources(metric)}
        found = {}
        for source in every.values():
            try:
                found.update(self._maps_of(source, images))
            except map_sources.UNSUPPORTED as error:
                if not source.may_fail:
                    raise
                self.notes.append(map_sources.note_of(source.name, error))
                self._methods = [one for one in self._methods if one is not source]
        return found

    def _maps_of(self, source: Source, images: Sequence[_Image]) -> dict[tuple[str, str | None, int, int], PixelMap]:
        pairs = [(image, target) for image in images for target in self._targets_of(image)]
        by_number = {image.number: (image, target) for image, target in pairs}
        different = pairs if source.takes_target else list(by_number.values())
        maps: list[PixelMap] = []
        for start in range(0, len(different), self._forward.batch_size):
            some = different[start : start + self._forward.batch_size]
            maps += source.maps(np.stack([image.pixels for image, _ in some]), np.array([target for _, target in some]))
        by_pair = {(image.number, target): one for (image, target), one in zip(different, maps, strict=True)}
        by_image = {number: one for (number, _), one in by_pair.items()}
        return {
            (source.name, source.layer, image.number, target): by_pair.get((image.number, target)) or by_image[image.number]
            for image, target in pairs
        }

    # --- scores -----------------------------------------------------------------------------------

    def _rows(self, image: _Image, target: int, maps: Mapping[Any, PixelMap]) -> list[ScoreRow]:
        """Score all methods for one image and one class."""
        groups: list[tuple[Metric, list[tuple[Source, Case]]]] = []
        for metric in self.metrics:
            if not _applies(metric, image, target):
                continue
            cases = [
                (source, self._case(image, target, source, maps[source.name, source.layer, image.number, target]))
                for source in self._sources(metric)
            ]
            groups += [(metric, [one]) for one in cases] if metric.reads_map else [(metric, cases)]
        counts: list[int] = []
        outputs = self._forward.one_class(_perturbed(groups, counts), target)
        ends = np.cumsum(counts)
        return [
            _row(image, target, source, case, key, score)
            for (metric, cases), count, end in zip(groups, counts, ends, strict=True)
            for source, case in cases
            for key, score in metric.scores(case, outputs[end - count : end]).items()
        ]

    def _case(self, image: _Image, target: int, source: Source, pixel_map: PixelMap) -> Case:
        return Case(
            image=image.pixels,
            target=target,
            logit=float(image.logits[target]),
            probability=float(image.probabilities[target]),
            map=pixel_map,
            explain=lambda others: source.maps(others, np.full(len(others), target)),
            mean_color=self._color,
            permutation=self._permutation,
            seed=self._seed,
            batch_size=self._forward.batch_size,
            regions=image.regions,
        )


def _applies(metric: Metric, image: _Image, target: int) -> bool:
    """Return whether a metric scores this class.

    Metrics that need regions score every class with a region; others score the image's target.
    """
    if metric.needs_regions:
        return image.regions is not None and target in image.regions.classes
    return target == image.target


def _perturbed(groups: Sequence[tuple[Metric, list[tuple[Source, Case]]]], counts: list[int]) -> Iterator[np.ndarray]:
    """Yield the perturbed images for all metrics. Append the number in each group to `counts`."""
    for metric, cases in groups:
        counts.append(0)
        for image in metric.perturbed(cases[0][1]):
            counts[-1] += 1
            yield image


def _row(image: _Image, target: int, source: Source, case: Case, key: str, score: Score) -> ScoreRow:
    return {
        "method": source.name,
        "layer": source.layer,
        "metric": key,
        "image": image.number,
        "target": target,
        "value": score.value,
        "blank": case.map.is_blank,
        "forwards": score.forwards,
        "is_control": source.is_control,
        "curve": None if score.curve is None else score.curve.tolist(),
    }


def _require_positive(batch_size: object) -> None:
    if not isinstance(batch_size, (int, np.integer)) or isinstance(batch_size, bool) or batch_size < 1:
        raise OptionError(
            f"`batch_size` must be a positive integer (the number of images to run at once). Received: {batch_size!r}."
        )
