"""Synthetic scenes of shapes and a small network that recognizes them, for demos and tests.

The script `scripts/train_shapes` in the project's repository trains the network. This package does
not import TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

from tfviz.shapes.kinds import KINDS
from tfviz.shapes.scenes import Scene, SceneObject, draw_scene

_FOLDER = Path(__file__).resolve().parent

MODEL_PATH: Path = _FOLDER / "shapes.keras"
"""The packaged network."""

SPEC_PATH: Path = _FOLDER / "shapes.json"
"""The network's preprocessing, labels and accuracy."""

SAMPLES_DIR: Path = _FOLDER / "samples"
"""A dozen scenes as PNG files, with their contents described in samples.json."""

__all__ = ["KINDS", "MODEL_PATH", "SAMPLES_DIR", "SPEC_PATH", "Scene", "SceneObject", "draw_scene"]
