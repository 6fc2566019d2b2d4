"""The base class for experiment tracker sinks."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from tfviz.errors import MissingPackageError, OutputError, TfvizError, first_line, install_command
from tfviz.models.labels import Labels
from tfviz.runs.layout import maps_folder, picture_path, shown_image_path
from tfviz.runs.schema import Record, Run
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.sinks.sink import Sink

PREFIX = "tfviz/"  # distinguishes the names from those that other callbacks log
# A failure that takes longer than _SLOW_S is followed by a pause of _PAUSE times its duration.
_SLOW_S = 0.5
_PAUSE = 10


@dataclass(frozen=True)
class CaptionedImage:
    """A picture in the run folder and the text to show below it.

    Attributes:
        key: the method's name, or "images".
        number: the image number, counted from 0.
        path: the PNG file.
        caption: the method, the moment, the prediction and the true class.
    """

    key: str
    number: int
    path: Path
    caption: str


class Tracker(Sink):
    """Logs snapshots to an experiment tracker, in a run that the user starts and ends.

    After a slow failure, the sink skips snapshots for ten times as long as the failure took, so
    that an unresponsive server cannot stall training.
    """

    product: ClassVar[str]  # the tracker's name in messages
    extra: ClassVar[str]  # the extra that installs it

    def __init__(self) -> None:
        self._folder = Path()
        self._run: Run | None = None  # None unless the sink is open
        self._is_connected = False
        self._has_images = False
        self._resumes_s = 0.0  # Snapshots are skipped until this time.

    @abc.abstractmethod
    def _connect(self) -> None:
        """Import the tracker's package and prepare its run."""

    @abc.abstractmethod
    def _log(self, record: Record, numbers: dict[str, float], images: list[CaptionedImage]) -> None:
        """Log the numbers and images of a snapshot at its step."""

    @abc.abstractmethod
    def _log_folder(self, name: str, folder: Path) -> None:
        """Log a folder as an artifact."""

    def open(self, run: Run, folder: Path) -> None:
        self._run, self._folder, self._has_images = run, folder, False
        self._is_connected, self._resumes_s = False, 0.0
        self._attempt(self._import_and_connect)

    def _import_and_connect(self) -> None:
        try:
            self._connect()
        except ImportError as error:
            words = f"{self.product} needs {error.name}, which is not installed. Run: {install_command(self.extra)}"
            raise MissingPackageError(words) from error
        self._is_connected = True

    def write(self, snapshot: Snapshot) -> None:
        record = cast(Record, snapshot.record)
        if self._run is None or time.monotonic() < self._resumes_s:
            return
        if not self._is_connected:
            self._attempt(self._import_and_connect)
        numbers = {PREFIX + name: value for name, value in record["logs"].items() if value is not None}
        images = self._images(self._run, record)
        self._attempt(lambda: self._log(record, numbers, images))
        self._has_images = True

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None and self._is_connected and time.monotonic() >= self._resumes_s:
            self._attempt(lambda: self._log_folder(f"tfviz-maps-{run['id'][:8]}", maps_folder(self._folder)))

    def _attempt(self, work: Callable[[], None]) -> None:
        started_s = time.monotonic()
        try:
            work()
        except Exception as error:
            took_s = time.monotonic() - started_s
            self._resumes_s = time.monotonic() + _PAUSE * took_s if took_s > _SLOW_S else 0.0
            if isinstance(error, TfvizError):
                raise
            raise OutputError(
                f"{self.product} failed ({type(error).__name__}: {first_line(error).removesuffix('.')}). All snapshots are "
                "still in the run folder."
            ) from error

    def _images(self, run: Run, record: Record) -> list[CaptionedImage]:
        """Return a snapshot's pictures, preceded by the images if they are new or reselected."""
        count, found = len(run["images"]), []
        if "images" in record or not self._has_images:
            paths = [shown_image_path(self._folder, record, number) for number in range(count)]
            found = [CaptionedImage("images", i, path, _caption("", run, record, i)) for i, path in enumerate(paths)]
        titles = {method["name"]: method["title"] for method in run["methods"]}
        for name in record["methods"]:
            paths = [picture_path(self._folder, record["number"], name, number) for number in range(count)]
            found += [CaptionedImage(name, i, path, _caption(titles[name], run, record, i)) for i, path in enumerate(paths)]
        return found


def _caption(title: str, run: Run, record: Record, number: int) -> str:
    """Return an image's caption.

    For example: "Grad-CAM · image 1 · epoch 2, step 80 · predicted cat 0.91 · true class dog".
    """
    labels = Labels(tuple(run["labels"] or ()))
    moment = "before training" if record["when"] == "start" else f"epoch {record['epoch'] + 1}"
    parts = [title, f"image {number + 1}", f"{moment}, step {record['step']}"]
    prediction = record["predictions"][number]
    if prediction is not None:
        parts.append(f"predicted {labels.name(prediction['class'])} {prediction['score']:.2f}")
    truth = (record.get("true_classes") or run.get("true_classes") or {number: None})[number]
    if truth is not None:
        parts.append(f"true class {labels.name(truth)}")
    return " · ".join(filter(None, parts))
