"""Compute the result rows for a list of images, which are decoded in parallel."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tfviz.cli.plan import Plan, plan_for
from tfviz.errors import ImageError, shown
from tfviz.image_rows import about_image, about_map
from tfviz.images.batches import ImageBatch, read_batches, shrunk
from tfviz.images.files import image_from_bytes
from tfviz.jobs.inputs import Input, content_of
from tfviz.jobs.schema import arrow, result_schema
from tfviz.methods.explainer import Explainer
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Map, maps_of
from tfviz.row_columns import Row, failure

if TYPE_CHECKING:
    import pyarrow as pa

_OVERLAY_SIDE_PX = 512
_QUALITY = 90


class ShardWorker:
    """Loads the model and builds the explainers once, for any number of shards.

    Args:
        run: the job's arguments, as in job.json.
    """

    def __init__(self, run: dict[str, Any]) -> None:
        self._plan: Plan = plan_for(argparse.Namespace(**run), lambda line: None)
        self._batch_size = int(run["batch_size"])
        self._has_overlays = bool(run["overlays"])

    def table(self, inputs: Sequence[Input]) -> pa.Table:
        """Explain images and return a table of their rows, in image order.

        A failed image has one row with its error.
        """
        rows: list[list[Row]] = [[] for _ in inputs]
        for batch in self._batches(inputs, rows):
            try:
                for number, found in zip(batch.numbers, self._explained(batch.images, batch.tensors), strict=True):
                    rows[number] = [row | {"path": inputs[number].path} for row in found]
            except ImageError as error:  # The model does not accept images of this size.
                for number in batch.numbers:
                    rows[number] = [failure(inputs[number].path, error)]
        return arrow().Table.from_pylist([row for each in rows for row in each], schema=result_schema())

    def _batches(self, inputs: Sequence[Input], rows: list[list[Row]]) -> Iterator[ImageBatch]:
        """Yield the images in batches. An image that cannot be read gets an error row in `rows`."""

        def fail(number: int, error: ImageError) -> None:
            rows[number] = [failure(inputs[number].path, error)]

        def read(one: Input) -> np.ndarray:
            return image_from_bytes(content_of(one), shown(one.path))

        return read_batches(inputs, self._plan.preprocessing, self._batch_size, fail, read=read)

    def _explained(self, images: Sequence[np.ndarray], tensors: np.ndarray) -> list[list[Row]]:
        """Explain a batch and return the rows for each image."""
        plan = self._plan
        rows: list[list[Row]] = [[] for _ in images]
        errors: dict[int, ImageError] = {}
        scores, first = plan.scores_and_first_maps(tensors)
        abouts = [about_image("", one.shape[:2], None if scores is None else scores[i]) for i, one in enumerate(images)]
        for explainer, columns in plan.steps(scores):
            for classes in columns:
                maps, first = first if first is not None else np.asarray(explainer(tensors, classes)), None
                for i, image in enumerate(images):
                    about = about_map(explainer, None if classes is None else int(classes[i]), plan.labels)
                    try:
                        rows[i].append(abouts[i] | about | self._drawn(explainer, image, maps[i]))
                    except ImageError as error:  # The map contains NaN.
                        errors[i] = error
        return [[failure("", errors[i])] if i in errors else found for i, found in enumerate(rows)]

    def _drawn(self, explainer: Explainer, image: np.ndarray, attribution: np.ndarray) -> Row:
        (values,) = maps_of([attribution], count=1)
        return {
            "map": attribution.astype(np.float16).tobytes(),
            "map_shape": list(attribution.shape),
            "overlay": self._overlay(explainer, image, values) if self._has_overlays else None,
        }

    def _overlay(self, explainer: Explainer, image: np.ndarray, values: Map) -> bytes:
        """Draw the map over the image and return the picture as JPEG bytes."""
        drawn = blended(shrunk(image, _OVERLAY_SIDE_PX), values, explainer.style, Look())
        encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        return bytes(encoded.tobytes())
