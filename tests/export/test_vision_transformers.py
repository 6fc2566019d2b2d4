"""Exported explainers of vision transformers give the same maps in every format."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import pytest
from support import transformers
from support.exported import assert_near

import tfviz

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("jax", "ai_edge_litert", "tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)

TOLERANCE = 1e-4  # of the largest value
IMAGES = transformers.images()
METHODS = [key for key, method in tfviz.METHODS.items() if method.needs_attention]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return transformers.network()


@pytest.mark.parametrize("format", ["stablehlo", "litert", "onnx"])
@pytest.mark.parametrize("method", [*METHODS, "grad_cam"])
def test_every_format_gives_the_same_maps(method: str, format: str, model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.METHODS[method](model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    target = 1 if explainer.takes_target else None
    assert_near(loaded(IMAGES, target), explainer(IMAGES, target), TOLERANCE)
