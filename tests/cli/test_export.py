"""`tfviz export` from the command line, and the SavedModel with TensorFlow's own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import cli_material

import tfviz
from tfviz.cli.main import main
from tfviz.export.manifest import Manifest


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cli_material.save_network(tmp_path_factory.mktemp("network") / "net.keras")


def exported(network: Path, folder: Path, *arguments: str) -> int:
    return main(["export", "--model", str(network), "--output", str(folder), *arguments])


def test_an_export_prints_a_summary(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(network, tmp_path / "x", "--method", "grad-cam", "--layer", "conv1", "--preprocess", "unit") == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, _, *lines = out.splitlines()
    assert first.startswith(f"{tmp_path / 'x'}: grad_cam of functional")
    assert "at conv1, saved_model, 0." in first
    summary = "serving_default images (any, 32, 32, 3) -> outputs (any, 4), target (any), attribution (any, 32, 32)"
    assert " ".join(lines[0].split()) == summary
    assert lines[1].split()[0] == "explain"
    assert f"tfviz.load_explainer('{tmp_path / 'x'}')" in out
    assert f"saved_model_cli show --dir {tmp_path / 'x'} --all" in out
    manifest = Manifest.read(tmp_path / "x")
    assert (manifest.method, manifest.layer) == ("grad_cam", "conv1")
    assert manifest.preprocessing
    assert manifest.preprocessing["formula"] == "x/255"


def test_the_target_may_be_a_class_name(network: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(cli_material.LABELS))
    assert exported(network, tmp_path / "x", "--labels", str(labels), "--target", "red fox") == 0
    loaded = tfviz.load_explainer(tmp_path / "x")
    images = np.random.default_rng(0).random((2, 32, 32, 3)) * 255
    assert loaded.with_outputs(images).target.tolist() == [2, 2]
    assert loaded.labels.names == cli_material.LABELS


def test_the_image_size_fixes_the_input_of_a_network_of_any_size(tmp_path: Path) -> None:
    network = cli_material.save_network(tmp_path / "any.keras", size=(None, None))
    assert exported(network, tmp_path / "any") == 0
    assert exported(network, tmp_path / "fixed", "--method", "visual_backprop", "--image-size", "40x30") == 0
    assert Manifest.read(tmp_path / "any").inputs[0].shape == (None, None, None, 3)
    assert Manifest.read(tmp_path / "fixed").inputs[0].shape == (None, 40, 30, 3)


def test_options_reach_the_format(network: Path, tmp_path: Path) -> None:
    assert (
        exported(
            network, tmp_path / "x", "--option", "image_shape=[32, 32, 3]", "--option", "include=image", "--preprocess", "unit"
        )
        == 0
    )
    assert "image" in Manifest.read(tmp_path / "x").extra["signatures"]


@pytest.mark.parametrize(
    ("format", "options", "summary"),
    [
        (
            "stablehlo",
            ["batch_size=2"],
            "images (2, 32, 32, 3), target (2) -> outputs (2, 4), target (2), attribution (2, 16, 16)",
        ),
        (
            "litert",
            ["batch_size=2"],
            "images (2, 32, 32, 3), target (2) -> outputs (2, 4), target (2), attribution (2, 16, 16)",
        ),
        ("onnx", [], "images (any, 32, 32, 3), target (any) -> outputs (any, 4), target_out (any), attribution (any, 16, 16)"),
    ],
    ids=["stablehlo", "litert", "onnx"],
)
def test_the_summary_lists_inputs_and_outputs(
    format: str, options: list[str], summary: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for option in options for word in ("--option", option)]
    assert exported(network, tmp_path / "x", "--format", format, *words) == 0
    assert " ".join(capsys.readouterr().out.splitlines()[2].split()) == f"explainer {summary}"


def test_only_overwrite_replaces_an_export(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(network, tmp_path / "x") == 0
    assert exported(network, tmp_path / "x", "--method", "saliency") == 2
    assert "tfviz export: error: The folder" in capsys.readouterr().err
    assert exported(network, tmp_path / "x", "--method", "saliency", "--overwrite") == 0
    assert Manifest.read(tmp_path / "x").method == "saliency"


WRONG = {
    "unknown method": (["--method", "gradcam"], "tfviz has no method 'gradcam'. Did you mean 'grad_cam'"),
    "two methods": (["--method", "grad_cam,saliency"], "only one method. Received: --method grad_cam,saliency."),
    "all methods": (["--method", "all"], "An export contains only one method"),
    "unknown layer": (["--layer", "conv7"], "has no layer 'conv7'"),
    "unused layer": (["--method", "saliency", "--layer", "conv1"], "None of the chosen methods accepts a layer"),
    "unknown format": (["--format", "pdf"], "Unknown export format 'pdf'"),
    "unknown class": (["--target", "9"], "Target 9 is out of range. The model has 4 classes (0 to 3)"),
    "no target": (["--method", "visual_backprop", "--target", "1"], "does not accept a target. Received: target=1"),
    "unknown option": (["--option", "color=red"], "has no option 'color'"),
    **{
        f"option {name}": (["--option", f"{name}=x"], f"No export format has an option named '{name}'.")
        for name in ("overwrite", "format", "path", "explainer")
    },
    "no name": (["--option", "red"], "Expected NAME=VALUE, such as batch_size=8. Received: 'red'."),
    "unknown preprocessing": (
        ["--include", "image"],
        "include='image' needs the preprocessing, which is unknown for the model 'functional",
    ),
    "overlay alone": (["--overlay"], "overlay=True requires include='image'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_usage_error_is_reported(name: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = WRONG[name]
    assert exported(network, tmp_path / "x", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_help_lists_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    out = capsys.readouterr().out
    for format in ("saved_model", "stablehlo", "litert", "onnx", "--include", "--overwrite"):
        assert format in out


def saved_model_cli(*arguments: str) -> str:
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_saved_model_cli_shows_and_runs_the_export(network: Path, tmp_path: Path) -> None:
    assert exported(network, tmp_path / "x") == 0
    shown = saved_model_cli("show", "--dir", str(tmp_path / "x"), "--tag_set", "serve", "--signature_def", "explain")
    for line in (
        "inputs['images']",
        "inputs['target']",
        "outputs['attribution']",
        "outputs['outputs']",
        "shape: (-1, 32, 32, 3)",
    ):
        assert line in shown
    images = np.random.default_rng(0).random((2, 32, 32, 3)).astype("float32") * 255
    np.save(tmp_path / "images.npy", images)
    where = ["--dir", str(tmp_path / "x"), "--tag_set", "serve", "--signature_def", "serving_default"]
    saved_model_cli("run", *where, "--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path / "out"))
    want = tfviz.load_explainer(tmp_path / "x").with_outputs(images)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "attribution.npy"), want.attribution, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "target.npy"), want.target)


def test_the_manifest_is_plain_json(network: Path, tmp_path: Path) -> None:
    assert exported(network, tmp_path / "x") == 0
    assert json.loads((tmp_path / "x" / "tfviz.json").read_text())["method"] == "grad_cam"
