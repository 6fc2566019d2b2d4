"""The float64 answers on small networks, which are stored beside the project."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

GOLDEN = ["plain", "residual", "depthwise", "inception", "preact", "mlp"]


def golden(shared: Path, name: str) -> tuple[keras.Model, dict[str, np.ndarray]]:
    model = keras.models.load_model(shared / "golden" / f"{name}.keras", compile=False)
    return model, dict(np.load(shared / "golden" / f"{name}.expected.npz"))
