"""A modified export folder either loads and runs, or tfviz reports what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import networks
from support.tampering import damage

import tfviz
from tfviz.export import FORMATS
from tfviz.export.manifest import FILE_NAME

TRIES = {"saved_model": 60, "stablehlo": 25, "litert": 60, "onnx": 60}
IMAGES = np.random.default_rng(0).normal(size=(2, 20, 17, 3)).astype("float32")
NEEDED = {"stablehlo": "jax", "litert": "ai_edge_litert", "onnx": "onnxruntime"}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("is_digested", [True, False], ids=["", "without digests"])
def test_a_tampered_export_runs_or_is_rejected_by_tfviz(format: str, is_digested: bool, tmp_path: Path) -> None:
    if format in NEEDED:
        pytest.importorskip(NEEDED[format])
    explainer = tfviz.GradCAM(networks.build("plain"))
    export = explainer.export(tmp_path / "x", format=format, labels=list("abcde"), preprocessing="unit")
    # As written by an older version of tfviz. Damage to what native code reads is out of scope.
    if not is_digested:
        content = json.loads((export / FILE_NAME).read_text())
        del content["files"]
        (export / FILE_NAME).write_text(json.dumps(content))
    refused = 0
    for number in range(TRIES[format]):
        folder = tmp_path / "tampered"
        shutil.rmtree(folder, ignore_errors=True)
        if is_digested:
            shutil.copytree(export, folder)
        else:
            folder.mkdir()
            shutil.copy(export / FILE_NAME, folder)
        done = damage(folder, [FILE_NAME], f"{format} {number}")
        shutil.copytree(export, folder, dirs_exist_ok=True, ignore=lambda *_: [FILE_NAME]) if not is_digested else None
        try:
            loaded = tfviz.load_explainer(folder)
            loaded(IMAGES)
            loaded.with_outputs(IMAGES, 1)
        except tfviz.TfvizError as error:
            assert str(error).isprintable() and len(str(error)) > 20, done
            refused += 1
        except Exception as error:
            raise AssertionError(f"{format} {number}, {done}: {error!r}") from error
    assert refused > TRIES[format] // 2


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    """File names in tfviz.json are only compared."""
    export = tfviz.GradCAM(networks.build("plain")).export(tmp_path / "x")
    content = json.loads((export / FILE_NAME).read_text())
    for name in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        (export / FILE_NAME).write_text(json.dumps(content | {"files": {name: "0" * 64}}))
        with pytest.raises(tfviz.ExportError, match="The export does not contain the file"):
            tfviz.load_explainer(export)
