"""Draw the frames of a film. Each shows the images, their maps in one snapshot, and text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from tfviz.errors import ImageError
from tfviz.film.frame_layout import Box, FrameLayout
from tfviz.film.loss_curve import LossCurve
from tfviz.film.typography import Color, text_width, write_line
from tfviz.images.files import image_from_bytes
from tfviz.render.pictures import Picture, shrunk_or_enlarged
from tfviz.runs.layout import image_path, picture_path, shown_image_path
from tfviz.runs.png import header_fault, largest_png_bytes
from tfviz.runs.regular_files import is_inside, read_regular
from tfviz.runs.schema import Record, Run

BACKGROUND: Color = (22, 24, 28)
EMPTY: Color = (38, 41, 47)
TEXT: Color = (236, 238, 242)
QUIET: Color = (150, 156, 166)
STALE: Color = (240, 120, 60)  # marks a picture from an earlier snapshot
_STALE_BRIGHTNESS = 0.55


class FramePainter:
    """Draws the frames of a run's film in chronological order.

    If a picture is missing, the previous picture is shown. It is darkened, and a corner is marked.

    Attributes:
        run: the content of run.json.
        images: the image numbers to show.
        methods: the method names to show.
        records: the film's snapshots.
        missing: the number of pictures that could not be read so far.
    """

    def __init__(
        self,
        folder: Path,
        run: Run,
        images: Sequence[int],
        methods: Sequence[str],
        layout: FrameLayout,
        records: Sequence[Record],
    ) -> None:
        # The folder itself may be a link, but links inside it must not lead out of it.
        folder = folder.resolve()
        self.folder, self.run, self.images, self.methods, self.layout = folder, run, images, methods, layout
        self.records = records
        self.missing = 0
        self._curve = LossCurve([record["logs"].get("loss") for record in records], layout.curve)
        self._background = self._draw_background()
        self._last: dict[tuple[int, str], Picture] = {}
        self._word_widths = self._caption_widths()

    def draw(self, index: int) -> Picture:
        """Draw the frame for `records[index]` as a uint8 RGB array of shape (height, width, 3)."""
        frame, record = self._background.copy(), self.records[index]
        self._write_caption(frame, record)
        for tile, image in enumerate(self.images):
            if "images" in record:
                self._draw_picture(frame, tile, 0, self._read(shown_image_path(self.folder, record, image), image))
            for column, method in enumerate(self.methods, start=1):
                self._draw_map(frame, tile, column, record, method, image)
            self._write_prediction(frame, tile, image, record)
        self._curve.draw(frame, index)
        return frame

    def _draw_background(self) -> Picture:
        """Draw the parts shared by all frames: the background, the titles and the images."""
        layout = self.layout
        frame = np.full((layout.height, layout.width, 3), BACKGROUND, np.uint8)
        titles = titles_of(self.run)
        for tile, image in enumerate(self.images):
            self._draw_picture(frame, tile, 0, self._read(image_path(self.folder, image), image))
            if tile < layout.columns:
                for column, method in enumerate(self.methods, start=1):
                    self._write_title(frame, layout.tile(tile, column), titles[method])
        return frame

    def _write_title(self, frame: Picture, tile: Box, title: str) -> None:
        """Write a title so that its last line is just above the tile."""
        layout, middle = self.layout, tile.left + tile.width // 2
        for line, words in enumerate(reversed(layout.title_lines(title)), start=1):
            top = layout.tiles_top - line * layout.line
            write_line(frame, words, middle, top, layout.text, QUIET, align="center", width=tile.width)

    def _draw_map(self, frame: Picture, tile: int, column: int, record: Record, method: str, image: int) -> None:
        picture = None
        if method in record["methods"]:
            picture = self._read(picture_path(self.folder, record["number"], method, image), image)
        if picture is not None:
            self._last[tile, method] = picture
        else:
            self.missing += 1
        self._draw_picture(frame, tile, column, self._last.get((tile, method)), is_stale=picture is None)

    def _draw_picture(self, frame: Picture, tile: int, column: int, picture: Picture | None, *, is_stale: bool = False) -> None:
        box = self.layout.picture(tile, column)
        region = frame[box.top : box.top + box.height, box.left : box.left + box.width]
        region[:] = EMPTY if picture is None else shrunk_or_enlarged(picture, box.height, box.width)
        if is_stale:
            region[:] = region * _STALE_BRIGHTNESS
            side = max(6, box.width // 8)
            corners = [(box.left, box.top), (box.left + side, box.top), (box.left, box.top + side)]
            cv2.fillPoly(frame, [np.array(corners, np.int32)], STALE, cv2.LINE_AA)

    def _read(self, path: Path, image: int) -> Picture | None:
        """Read an image or map from a file, or return None if the file cannot be used.

        A file cannot be used if it is missing or damaged, or has the wrong size. The film can still
        show the other pictures. The size is checked first, because decoding a tampered file could
        need gigabytes of memory.
        """
        size = self.run["images"][image]
        try:
            data = read_regular(path, largest_png_bytes(size)) if is_inside(path, self.folder) else b""
            return image_from_bytes(data, path.name, least_px=1) if header_fault(data, size) is None else None
        except (OSError, ImageError):
            return None

    def _write_prediction(self, frame: Picture, tile: int, image: int, record: Record) -> None:
        predictions = record["predictions"]
        prediction = predictions[image] if image < len(predictions) else None
        if prediction is not None:
            box = self.layout.tile(tile, 0)
            words = f"{self._label(prediction['class'])}  {_number(prediction['score'])}"
            top, width = box.top + box.height, self.layout.group_width
            write_line(frame, words, box.left, top, self.layout.text, TEXT, width=width)

    def _label(self, number: int) -> str:
        labels = self.run["labels"] or []
        return labels[number].split(",")[0] if 0 <= number < len(labels) else f"class {number}"

    def _write_caption(self, frame: Picture, record: Record) -> None:
        """Write the epoch, the step and the logs on the left, and the run name on the right.

        Logs are omitted if they do not fit, and so is the run name.
        """
        layout, size = self.layout, self.layout.text
        left, end = layout.margin, layout.width - layout.margin
        for word, word_width in zip(caption_of(record), self._word_widths, strict=False):
            if left > layout.margin and left + word_width > end:
                break
            write_line(frame, word, left, layout.caption_top, size, TEXT, width=end - left)
            left += word_width + round(1.5 * size)
        name = self.run["name"]
        if left + text_width(name, size) <= end:
            write_line(frame, name, end, layout.caption_top, size, QUIET, align="right")

    def _caption_widths(self) -> list[int]:
        """Return the maximum width of each caption part over all frames, so that no part moves."""
        captions = zip_longest(*map(caption_of, self.records), fillvalue="")
        return [max(text_width(word, self.layout.text) for word in words) for words in captions]


def titles_of(run: Run) -> dict[str, str]:
    """Return the method titles, keyed by method name."""
    return {method["name"]: method["title"] or method["name"] for method in run["methods"]}


def caption_of(record: Record) -> list[str]:
    """Return the parts of a caption, such as ["epoch 3", "step 1,250", "loss 0.412"]."""
    step, logs = record["step"], dict(record["logs"])
    logs = {name: logs.pop(name) for name in ("loss", "val_loss") if name in logs} | logs
    words = [f"epoch {record['epoch'] + 1}" if step else "before training", f"step {step:,}"]
    return words + [f"{name} {_number(value)}" for name, value in logs.items()]


def _number(value: float | None) -> str:
    """Format a number with three decimals.

    Very large and very small numbers are written in scientific notation.
    """
    if value is None:
        return "–"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.2e}"
