"""Write a run folder.

A snapshot is valid once its line is in the index, which is written last. A failed snapshot leaves
no files.
"""

from __future__ import annotations

import io
import json
import shutil
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.errors import OutputError, shown
from tfviz.images import read_written, write_image
from tfviz.render.pictures import Picture
from tfviz.runs.folder_lock import FolderLock
from tfviz.runs.index import add_line, cut_partial_line
from tfviz.runs.layout import INDEX_FILE, OWN_IMAGES, RUN_FILE, image_path, is_run, maps_path, picture_path
from tfviz.runs.run_reader import read_records, read_run
from tfviz.runs.schema import FORMAT, MAX_RECORD_BYTES, MAX_RUN_BYTES, Method, Run, line_of, shortened
from tfviz.runs.snapshot import Snapshot
from tfviz.runs.validation import record_fault, run_fault, size_fault

_ACCURACY = 1e-3  # the allowed error, relative to a map's largest value


class RunFolder:
    """Starts a run in a folder or continues an existing run, and writes its files.

    Attributes:
        path: the log_dir.
        run: the content of run.json, or None before the run is opened.
        step: the step of the last snapshot.
    """

    def __init__(self, path: Path, images: Sequence[Picture], about: Mapping[str, Any]) -> None:
        self.path, self._images, self._about = path, images, about
        self.run: Run | None = None
        self.step = 0
        self._next = 0
        self._lock = FolderLock()

    def open(self) -> None:
        """Continue the run in the folder, or start a new run.

        If the run is already open, this only restores a missing run.json.

        Raises:
            OSError, OutputError: the folder cannot be written to.
            FolderInUseError: another process is writing to the folder.
            SnapshotsError: the run is damaged.
        """
        has_index = self._index.exists()
        if self.run is not None and has_index:
            if not is_run(self.path):  # Only run.json was removed.
                self._write_run(self.run)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take(self.path)
        if is_run(self.path) and has_index:
            self._continue()
        else:
            self._next = 0
            self._index.touch()
            cut_partial_line(self._index)
            self._write_run(None)

    def close(self) -> None:
        """Release the lock, so that other processes can write to the folder."""
        self._lock.release()

    def was_removed(self) -> bool:
        """Return whether this run was started and has since been removed."""
        return self.run is not None and not self._index.exists()

    @property
    def _index(self) -> Path:
        return self.path / INDEX_FILE

    def _continue(self) -> None:
        cut_partial_line(self._index)
        records = read_records(self.path)
        if records:
            self._next, self.step = records[-1]["number"] + 1, int(records[-1]["step"])
        self._write_run(read_run(self.path))

    def _write_run(self, known: Run | None) -> None:
        run: Run = {
            "format": FORMAT,
            "id": known["id"] if known else uuid.uuid4().hex,
            "name": shortened(self.path.resolve().name),
            "started": known["started"] if known else time.time(),
            "model": self._about["model"],
            "labels": self._about["labels"],
            "methods": _merged(known["methods"] if known else [], self._about["methods"]),
            "images": [{"height": image.shape[0], "width": image.shape[1]} for image in self._images],
        }
        if self._about.get("true_classes") is not None:
            run["true_classes"] = self._about["true_classes"]
        if self._about.get("kind", "image") != "image":
            run["kind"] = self._about["kind"]
        _require(RUN_FILE, run_fault(run))
        content = json.dumps(run, allow_nan=False, ensure_ascii=False, indent=1).encode("utf-8")
        _require(RUN_FILE, size_fault(content, MAX_RUN_BYTES))
        for number, image in enumerate(self._images):
            write_image(image_path(self.path, number), image)
        write_atomically(self.path / RUN_FILE, content)
        self.run = run

    def add(self, snapshot: Snapshot) -> Snapshot:
        """Write a snapshot and return it with its number.

        Raises:
            OSError, OutputError: the snapshot cannot be written, or its record violates the schema.
                None of its files remain in the folder.
        """
        number = self._next
        numbered = replace(snapshot, record={"number": number, **snapshot.record, **self._continuation(snapshot)})
        self._check(numbered.record)
        folder, maps = picture_path(self.path, number, "", 0).parent, maps_path(self.path, number)
        shutil.rmtree(folder, ignore_errors=True)  # remove files that a killed writer left
        try:
            self._write_pictures(number, snapshot)
            write_atomically(maps, packed(snapshot.maps))
            add_line(self._index, numbered.record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            maps.unlink(missing_ok=True)
            raise
        self._next = number + 1
        return numbered

    def _continuation(self, snapshot: Snapshot) -> dict[str, bool]:
        """Return a dict with `has_new_weights` for the first snapshot of a continued run.

        The dict is empty for other snapshots, for models that predict classes, and if the maps
        cannot be compared with those of the previous snapshot.
        """
        record = snapshot.record
        if record.get("when") != "start" or not self._next or any(record.get("predictions", [])):
            return {}
        try:
            with np.load(maps_path(self.path, self._next - 1)) as stored:
                before = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return {}
        pairs = [(before[name], now) for name, now in snapshot.maps.items() if name in before]
        differs = [a.shape != b.shape or np.abs(a - b).max() > 10 * _ACCURACY * np.abs(b).max() for a, b in pairs]
        return {"has_new_weights": bool(any(differs))} if differs else {}

    def _check(self, record: Mapping[str, Any]) -> None:
        _require("The record", record_fault(record, self.run))
        _require("The record", size_fault(line_of(record), MAX_RECORD_BYTES))

    def _write_pictures(self, number: int, snapshot: Snapshot) -> None:
        for name, pictures in snapshot.pictures.items():
            for image, picture in enumerate(pictures):
                write_image(picture_path(self.path, number, name, image), picture)
        if "images" in snapshot.record:
            for image, picture in enumerate(snapshot.images):
                write_image(picture_path(self.path, number, OWN_IMAGES, image), picture)


def check_folder(path: Path, images: Sequence[Picture], *, is_rechosen: bool = False) -> None:
    """Create the folder if it is missing, and check the run in it.

    Args:
        path: the log_dir.
        images: the run's images.
        is_rechosen: whether the images change during training. If so, only their sizes must match
            those of the images in the folder.

    Raises:
        OutputError: the folder cannot be created, or contains a run with different images or an
            incomplete run.
        SnapshotsError: the run is damaged, or was written by a newer tfviz.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"log_dir {shown(path)} cannot be created ({error.strerror}). Pass a writable folder.") from error
    if not is_run(path):
        if read_records(path):
            raise OutputError(
                f"log_dir {shown(path)} contains a run's snapshots ({INDEX_FILE}), but {RUN_FILE} is missing. Restore this "
                "file, or pass a new folder."
            )
        return
    sizes = [(size["height"], size["width"]) for size in read_run(path)["images"]]
    if sizes != [image.shape[:2] for image in images] or not all(
        is_rechosen or np.array_equal(read_written(image_path(path, number)), image)
        for number, image in enumerate(images)
        if image_path(path, number).exists()
    ):
        raise OutputError(
            f"log_dir {shown(path)} contains a run with different images. To continue the run, pass the same images. A "
            "shuffled dataset yields different images each time, so load the images once and store them. To start a new run, "
            "pass a new folder."
        )


def packed(maps: Mapping[str, np.ndarray]) -> bytes:
    """Pack the maps into an .npz file and return its bytes.

    Maps are stored as float16 if the error stays below a thousandth of their largest value, and as
    float32 otherwise.
    """
    file = io.BytesIO()
    np.savez_compressed(file, **{name: _compact(array) for name, array in maps.items()})  # type: ignore[arg-type]
    return file.getvalue()


def _compact(maps: np.ndarray) -> np.ndarray:
    flat = maps.reshape(len(maps), -1).astype(np.float32)
    is_finite = np.isfinite(flat)
    largest = np.abs(np.where(is_finite, flat, 0)).max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        half = flat.astype(np.float16)
        is_kept = (np.abs(half.astype(np.float32) - flat) <= _ACCURACY * largest) | ~is_finite
    return (half if is_kept.all() else flat).reshape(maps.shape)


def _require(what: str, fault: str | None) -> None:
    """Raise OutputError if there is a fault, because the viewer would reject the data."""
    if fault is not None:
        raise OutputError(f"{what} does not conform to the run folder's schema: {fault}.")


def _merged(before: Sequence[Method], now: Sequence[Method]) -> list[Method]:
    """Return the methods of a continued run: the current ones, then those used only earlier."""
    names = {method["name"] for method in now}
    return [*now, *(method for method in before if method["name"] not in names)]
