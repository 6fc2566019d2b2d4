"""Score methods on many images and summarize the scores. A stopped run can resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfviz.images.batches import read_batches
from tfviz.images.folders import find_images
from tfviz.metrics.annotations import read_annotations
from tfviz.metrics.annotations.image_matches import matched
from tfviz.metrics.evaluation import Evaluation
from tfviz.metrics.image_scores import ImageScorer, ScoreRow
from tfviz.metrics.metric import Metric
from tfviz.metrics.regions import Regions
from tfviz.metrics.sources import Method
from tfviz.models import labels_of, preprocessing_of
from tfviz.shapes import KINDS, draw_scene

BATCH = 20
FIRST_SEED = 10_000  # Training uses other seeds, so these scenes are new.


@dataclass(frozen=True)
class Pictures:
    """A model's inputs, (N, H, W, C), and the regions of the classes in each image."""

    images: np.ndarray
    regions: list[Regions]

    def first(self, count: int) -> Pictures:
        return Pictures(self.images[:count], self.regions[:count])


@dataclass(frozen=True)
class Part:
    """A part of a study: a selection of methods, metrics and images.

    Attributes:
        name: the name of the part's score file.
        methods: a function that returns the methods, keyed by name.
        metrics: the metrics.
        count: the maximum number of images.
    """

    name: str
    methods: Callable[[keras.Model, Pictures], Mapping[str, Method]]
    metrics: Sequence[str | Metric]
    count: int


def scenes(count: int) -> Pictures:
    """Draw scenes with two different objects each. Scene i is the same for every `count`."""
    drawn = []
    for number in range(count):
        rng = np.random.default_rng(FIRST_SEED + number)
        drawn.append(draw_scene(rng, rng.choice(KINDS, 2, replace=False).tolist()))
    images = np.stack([scene.image for scene in drawn]) / np.float32(127.5) - 1
    size = images.shape[1:3]
    return Pictures(images, [Regions({one.label: one.mask for one in scene.objects}, size) for scene in drawn])


def photos(folder: Path, boxes: Path, model: keras.Model) -> Pictures:
    """Read the annotated photos in a folder."""
    files = [found.path for found in find_images([folder])]
    count = model.output_shape[-1]
    found, _ = matched(read_annotations(boxes, labels_of(model), count), files)

    def fail(number: int, error: Exception) -> None:
        raise error

    tensors: list[np.ndarray] = []
    regions: list[Regions] = []
    places = sorted(found)
    for batch in read_batches([files[place] for place in places], preprocessing_of(model), BATCH, fail):
        scores = model.predict(batch.tensors, verbose=0)
        for number, tensor, size, row in zip(batch.numbers, batch.tensors, batch.sizes, scores, strict=True):
            tensors.append(tensor)
            regions.append(found[places[number]].regions(size, row))
    return Pictures(np.stack(tensors), regions)


def evaluation_of(part: Part, model: keras.Model, pictures: Pictures, folder: Path, share: float, seed: int) -> Evaluation:
    """Score the images that are not in the part's file yet, and summarize all scores."""
    own = pictures.first(max(1, round(part.count * share)))
    file = folder / f"{part.name}.jsonl"
    stored = list(_stored(file))
    done = {row["image"] for row in stored}
    if len(done) < len(own.images):
        folder.mkdir(parents=True, exist_ok=True)
        scorer = ImageScorer(model, part.methods(model, pictures), part.metrics, has_regions=True, batch_size=BATCH, seed=seed)
        with file.open("a", encoding="utf-8") as out:
            for rows in scorer.score_images(own.images, own.regions, done=done):
                # Only the area under each curve is needed, so the curves are not stored.
                stored += (bare := [{**row, "curve": None} for row in rows])
                out.write(json.dumps(bare) + "\n")
                out.flush()
                # "\r" overwrites the previous progress line.
                print(f"\r{part.name}: {len({row['image'] for row in stored})} of {len(own.images)}", end="", flush=True)
        print()
    rows = [row for row in stored if row["image"] < len(own.images)]
    return Evaluation.of(rows, metrics=[one for one in part.metrics if isinstance(one, Metric)], seed=seed)


def _stored(file: Path) -> Iterator[ScoreRow]:
    if file.exists():
        for line in file.read_text("utf-8").splitlines():
            yield from json.loads(line)


def rows_of(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Join several parts' rows. Of the rows for the same score, keep that with the most images."""
    best: dict[tuple[str, str | None, str], dict[str, Any]] = {}
    for row in (row for one in evaluations for row in one.rows):
        key = row["method"], row["layer"], row["metric"]
        if key not in best or row["n"] > best[key]["n"]:
            best[key] = row
    return sorted(best.values(), key=lambda row: bool(row["is_control"]))
