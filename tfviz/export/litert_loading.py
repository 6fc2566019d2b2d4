"""Load exported .tflite files as explainers that LiteRT runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import ExportError, MissingPackageError, first_line, install_command, shown
from tfviz.export.fixed_batches import run_in_batches
from tfviz.export.loading import TOP_CLASS, LoadedExplainer
from tfviz.export.manifest import Manifest

FILE, SIGNATURE = "explainer.tflite", "serving_default"


class LiteRTExplainer(LoadedExplainer):
    """An explainer loaded from a .tflite file. It accepts batches of any size.

    It runs `batch_size` images at a time. `interpreter` is the LiteRT interpreter.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.batch_size = manifest.extra["batch_size"]
        self._lock = threading.Lock()
        try:
            manifest.require_exported(folder, FILE)
            self.interpreter = interpreter_class()(model_path=str(folder / FILE), num_threads=os.cpu_count())
            self._runner = self.interpreter.get_signature_runner(SIGNATURE)
        except MissingPackageError:
            raise
        except Exception as error:  # LiteRT may raise anything for a damaged file
            raise ExportError(
                f"{shown(folder / FILE)} cannot be opened ({first_line(error)}). Export the explainer again."
            ) from error

    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        given = {one.name: array for one, array in zip(self.manifest.inputs, images, strict=True)}
        if "class" in self.manifest.targets:
            given["target"] = np.full(len(images[0]), TOP_CLASS, np.int32) if target is None else target
        return self._nested(run_in_batches(self._run_batch, given, self.batch_size))

    def _run_batch(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # The interpreter stores the inputs and outputs of a call, so calls must not overlap.
        with self._lock:
            return self._runner(**given)


def interpreter_class() -> Any:
    """Return LiteRT's Interpreter class. Raise MissingPackageError if LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingPackageError(
            f"A .tflite file needs LiteRT's interpreter, but ai-edge-litert is not installed. Run: {install_command('litert')}"
        ) from error
    return Interpreter
