"""Show the newest snapshot below the running notebook cell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.models.labels import Labels
from tfviz.notebooks import displayed
from tfviz.render.canvas import Canvas
from tfviz.render.overlays import Look
from tfviz.render.panel import Panel, panel_on
from tfviz.runs.schema import Prediction, Run
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.sinks.sink import Sink

_MOST_IMAGES = 16
_MOMENTS = {"start": "before training", "end": "after training"}
_LEAST_PAUSE_S, _SHARE = 1.0, 0.1  # Drawing may use at most a tenth of the time.


class NotebookSink(Sink):
    """Shows the newest snapshot as a panel that replaces the previous panel.

    Args:
        canvas: the pictures to draw maps over.
        look: how to blend maps with images.
        viewer: the address of the live page, shown above the maps, or None.
    """

    def __init__(self, canvas: Canvas, look: Look, viewer: str | None = None) -> None:
        self._canvas, self._look, self._viewer = canvas.first(_MOST_IMAGES), look, viewer
        self._count, self._given = len(self._canvas.pictures), len(canvas.pictures)
        self._run: Run | None = None
        self._output: Any = None
        self._waiting: Snapshot | None = None
        self._next = 0.0

    def open(self, run: Run, folder: Path) -> None:
        self._run, self._output, self._waiting, self._next = run, None, None, 0.0

    def write(self, snapshot: Snapshot) -> None:
        self._waiting = snapshot
        if time.monotonic() >= self._next:
            self._show()

    def close(self) -> None:
        if self._waiting is not None:
            self._show()

    def _show(self) -> None:
        started, snapshot, self._waiting = time.monotonic(), self._waiting, None
        if self._run is None or snapshot is None or not snapshot.pictures:
            return
        panel = self._panel(self._run, snapshot)
        if self._output is None:
            self._output = displayed(panel, display_id=True)
        else:
            self._output.update(panel)
        done = time.monotonic()
        self._next = done + max(_LEAST_PAUSE_S, (done - started) / _SHARE)

    def _panel(self, run: Run, snapshot: Snapshot) -> Panel:
        methods = [one for one in run["methods"] if one["name"] in snapshot.pictures]
        count = Counter(one["key"] for one in methods)
        keys = {one["name"]: one["key"] if count[one["key"]] == 1 else one["title"] for one in methods}
        maps = {
            keys[one["name"]]: {"": [np.asarray(values, np.float64) for values in snapshot.maps[one["name"]][: self._count]]}
            for one in methods
        }
        return panel_on(
            self._canvas if snapshot.canvas is None else snapshot.canvas.first(_MOST_IMAGES),
            maps,
            captions=_captions(run, snapshot)[: self._count],
            scores=None,
            classes=None,
            styles={keys[one["name"]]: one["style"] for one in methods},
            look=self._look,
            scale="map",
            heading=" · ".join(self._words(snapshot)),
        )

    def _words(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield the parts of the heading, such as the moment, metrics and any failed methods."""
        record = snapshot.record
        yield _MOMENTS.get(record["when"], f"epoch {record['epoch'] + 1}") + f", step {record['step']}"
        yield from (f"{name} {value:.4g}" for name, value in record["logs"].items() if value is not None)
        if record["errors"]:
            yield f"failed: {', '.join(record['errors'])}"
        if self._count < self._given:
            yield f"the first {self._count} of {self._given} images"
        if self._viewer:
            yield f"live page: {self._viewer}"


def _captions(run: Run, snapshot: Snapshot) -> list[str]:
    """Return a caption for each image: its true class, predicted class and score."""
    labels = Labels(tuple(run["labels"] or ()))
    predicted = snapshot.record["predictions"]
    true = snapshot.record.get("true_classes") or run.get("true_classes") or [None] * len(predicted)
    return [_caption(labels, *pair) for pair in zip(true, predicted, strict=True)]


def _caption(labels: Labels, true: int | None, predicted: Prediction | None) -> str:
    words = [] if true is None else [f"true: {labels.name(true)}"]
    if predicted is not None:
        words.append(f"predicted: {labels.name(predicted['class'])} {predicted['score']:.2f}")
    return ", ".join(words)
