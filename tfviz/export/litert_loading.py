"""A .tflite file behind an explainer's call, run by LiteRT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import ExportError, MissingPackageError
from tfviz.export.loading import TOP_CLASS, LoadedExplainer
from tfviz.export.manifest import Manifest

FILE, SIGNATURE = "explainer.tflite", "serving_default"


class LiteRTExplainer(LoadedExplainer):
    """An explainer in a .tflite file; it takes batches of any length, some images at once (`manifest.extra`).

    `interpreter` is LiteRT's.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.batch_size = manifest.extra["batch_size"]
        try:
            self.interpreter = interpreter_class()(model_path=str(folder / FILE), num_threads=os.cpu_count())
            self._run_batch = self.interpreter.get_signature_runner(SIGNATURE)
        except (ValueError, RuntimeError, OSError) as error:
            if isinstance(error, MissingPackageError):
                raise
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ExportError(f"{folder / FILE} cannot be opened ({reason}); export the explainer anew") from error

    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        count = len(images[0])
        given = {one.name: array for one, array in zip(self.manifest.inputs, images, strict=True)}
        if "class" in self.manifest.targets:
            given["target"] = np.full(count, TOP_CLASS, np.int32) if target is None else target
        parts = [self._run_batch(**self._batch(given, first)) for first in range(0, count, self.batch_size)]
        return self._nested({name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]})

    def _batch(self, given: dict[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
        """As many images as the file takes at once; at the end the last one stands in for those that are missing."""
        count = len(next(iter(given.values())))
        numbers = np.minimum(np.arange(first, first + self.batch_size), count - 1)
        return {name: array[numbers] for name, array in given.items()}


def interpreter_class() -> Any:
    """LiteRT's Interpreter. Raises MissingPackageError where it is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingPackageError(
            "A .tflite file needs LiteRT's interpreter, and ai-edge-litert is not installed: pip install 'tfviz[litert]'."
        ) from error
    return Interpreter
