"""Artificial runs: folders and requests of the documented form, without training."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

METHODS = (("visual_backprop", "VisualBackProp"), ("grad_cam", "Grad-CAM"))
LABELS = ["disc", "ring", "square", "triangle", "star", "heart"]


def run_of(id: str, name: str = "shapes", images: int = 2, size: int = 32, **fields: Any) -> dict[str, Any]:
    """Return the content of a run.json."""
    methods = [{"name": key, "key": key, "title": title, "layer": None, "style": "heatmap"} for key, title in METHODS]
    run = {"format": 1, "id": id, "name": name, "started": 1.7e9, "model": "small", "labels": LABELS, "methods": methods}
    return {**run, "images": [{"height": size, "width": size}] * images, **fields}


def record_of(number: int, images: int = 2, total: int = 200, **fields: Any) -> dict[str, Any]:
    """Return a line of the index, as from a training with a falling loss."""
    share = number / total
    predictions = [
        {"class": (image + (share < 0.2 + 0.1 * image)) % len(LABELS), "score": round(0.3 + 0.6 * share, 4)}
        for image in range(images)
    ]
    loss = 1.8 * math.exp(-3 * share) + 0.1 + 0.05 * math.sin(number)
    logs = {"loss": round(loss, 5), "accuracy": round(1 - loss / 2.2, 5)}
    if number % 10 == 0:
        logs |= {"val_loss": round(loss * 1.15, 5), "val_accuracy": round(0.95 - loss / 2.2, 5)}
    record = {"number": number, "when": "batch" if number else "start", "epoch": number // 20, "batch": number % 20 * 10}
    record |= {"step": number * 10, "time": 1.7e9 + number, "logs": logs if number else {}, "predictions": predictions}
    return {**record, "methods": [key for key, _ in METHODS], "errors": {}, **fields}


def image_of(image: int, size: int = 32) -> np.ndarray:
    """Return a bright disc on blue, at a position that depends on the image."""
    rows, columns = np.mgrid[:size, :size] / size
    center = (0.3 + 0.4 * (image % 2), 0.3 + 0.4 * (image // 2 % 2))
    inside = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < 0.06
    picture = np.zeros((size, size, 3), np.uint8)
    picture[...] = (30, 60, 120)
    picture[inside] = (250, 220 - 30 * (image % 5), 120)
    return picture


def map_of(image: int, number: int, method: int, total: int = 200, size: int = 32) -> np.ndarray:
    """Return a spot that moves toward the disc during training."""
    rows, columns = np.mgrid[:size, :size] / size
    center = np.array((0.3 + 0.4 * (image % 2), 0.3 + 0.4 * (image // 2 % 2)))
    share = min(1, number / total)
    row, column = center * share + (1 - share) * np.array((0.8, 0.5))
    width = 0.08 if method == 0 else 0.03
    strength = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width)
    heat = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return (image_of(image, size) * 0.4 + heat * 0.6).astype(np.uint8)


def png_of(picture: np.ndarray) -> bytes:
    """Encode a picture as PNG."""
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


class FakeTrainer:
    """Writes a run folder like a callback: the files first, then the line."""

    def __init__(self, folder: Path, id: str, images: int = 2, size: int = 32, total: int = 200, **fields: Any) -> None:
        self.folder, self.images, self.size, self.total = folder, images, size, total
        self.run = run_of(id, **{"name": folder.name, **fields}, images=images, size=size)
        self.number = 0
        for image in range(images):
            _write(folder / "images" / f"{image}.png", png_of(image_of(image, size)))
        _write(folder / "run.json", json.dumps(self.run).encode())

    def snap(self, count: int = 1, with_pictures: bool = True, **fields: Any) -> None:
        """Write the next snapshots."""
        lines = []
        for _ in range(count):
            if with_pictures:
                self._draw()
            record = record_of(self.number, self.images, self.total, time=time.time())
            lines.append(json.dumps({**record, **fields}))
            self.number += 1
        with (self.folder / "snapshots.jsonl").open("a", encoding="utf-8") as index:
            index.write("".join(line + "\n" for line in lines))

    def snap_images(self, positions: list[int], classes: list[int]) -> None:
        """Write a snapshot with its own images, as in a run that reselects them."""
        folder = self.folder / "pictures" / f"{self.number:08d}" / "_images"
        for image, position in enumerate(positions):
            _write(folder / f"{image}.png", png_of(255 - image_of(position, self.size)))
        self.snap(images=positions, true_classes=classes)

    def _draw(self) -> None:
        for method, (key, _) in enumerate(METHODS):
            for image in range(self.images):
                picture = map_of(image, self.number, method, self.total, self.size)
                _write(self.folder / "pictures" / f"{self.number:08d}" / key / f"{image}.png", png_of(picture))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
