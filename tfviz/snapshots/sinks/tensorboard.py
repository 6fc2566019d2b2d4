"""Write snapshots for TensorBoard: one image per method and input, and one scalar per metric.

TensorFlow writes the event files. `pip install tensorboard` is only needed to view them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import tensorflow as tf

from tfviz.runs.layout import image_path, picture_path, shown_image_path
from tfviz.runs.schema import Record, Run
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.sinks.sink import Sink

_SCALAR, _IMAGES = 1, 3  # TensorBoard's data classes


class TensorBoardSink(Sink):
    """Writes the images and scalars of each snapshot to a folder for TensorBoard.

    Args:
        folder: the folder for the event files.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._run_folder = Path()
        self._writer: Any = None

    def open(self, run: Run, folder: Path) -> None:
        self.close()
        self._run_folder = folder
        self._writer = tf.summary.create_file_writer(str(self.folder))
        with self._writer.as_default(step=0):
            pngs = [image_path(folder, number).read_bytes() for number in range(len(run["images"]))]
            sizes = [(image["height"], image["width"]) for image in run["images"]]
            for number, (png, size) in enumerate(zip(pngs, sizes, strict=True)):
                _write_image(f"images/{number}", png, size)

    def write(self, snapshot: Snapshot) -> None:
        record = snapshot.record
        with self._writer.as_default(step=record["step"]):
            for name, value in record["logs"].items():
                if value is not None:
                    _write_scalar(name, value)
            if "images" in record:
                for number, image in enumerate(snapshot.images):
                    png = shown_image_path(self._run_folder, cast(Record, record), number).read_bytes()
                    _write_image(f"images/{number}", png, image.shape[:2])
            for method in record["methods"]:
                for number, picture in enumerate(snapshot.pictures[method]):
                    png = picture_path(self._run_folder, record["number"], method, number).read_bytes()
                    _write_image(f"{method}/{number}", png, picture.shape[:2])
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _write_scalar(tag: str, value: float) -> None:
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=_metadata("scalars", _SCALAR))


def _write_image(tag: str, png: bytes, size: tuple[int, int]) -> None:
    """Write an encoded image in TensorBoard's format: width, height and PNG bytes."""
    height, width = size
    tf.summary.write(tag, tf.constant([str(width), str(height), png]), metadata=_metadata("images", _IMAGES))


def _metadata(plugin: str, data_class: int) -> Any:
    kind = tf.compat.v1.SummaryMetadata
    return kind(plugin_data=kind.PluginData(plugin_name=plugin), data_class=data_class)
