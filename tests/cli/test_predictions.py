"""The rows that `tfviz explain` and `Explainer.explain_files` give programs."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from support.cli_material import save_network, save_pictures

import tfviz
from tfviz.cli.main import main
from tfviz.cli.results import Results
from tfviz.images import write_image
from tfviz.row_columns import PREDICTION_COLUMNS
from tfviz.tables import TABLES

CLASSES = ("tench", "tabby", "fox", "crane")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a model, photos in class folders with a damaged one, and the output of the command."""
    folder = tmp_path_factory.mktemp("predictions")
    model = save_network(folder / "net.keras")
    (folder / "labels.txt").write_text("\n".join(CLASSES))
    photos = save_pictures(folder / "photos", ["fox/a.png", "fox/b.png", "misc/d.png", "tabby/e.png"])
    (photos / "fox/c.png").write_text("nothing")
    assert explain(model, photos, folder / "out", "--table", "jsonl") == 1
    assert explain(model, photos, folder / "out") == 1
    return model, photos, folder / "out"


def explain(model: Path, photos: Path, output: Path, *options: str) -> int:
    argv = ["explain", photos, "--model", model, "--preprocess", "none", "--labels", model.with_name("labels.txt")]
    argv += ["--method", "grad_cam,visual_backprop", "--target", "top2", "--batch-size", 3, "--output", output]
    return main([*map(str, argv), *options])


def json_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_there_is_a_row_per_image_method_and_target_and_one_per_failure(material: tuple[Path, Path, Path]) -> None:
    model, photos, output = material
    with (output / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(PREDICTION_COLUMNS)
    assert [(Path(row["path"]).stem, row["method"]) for row in rows] == [
        *[(name, method) for name in "ab" for method in ("grad_cam", "grad_cam", "visual_backprop")],
        ("c", ""),
        *[(name, method) for name in "de" for method in ("grad_cam", "grad_cam", "visual_backprop")],
    ]
    network = tfviz.load_model(model, preprocessing="none")
    images = tfviz.load_images([photos / "fox/b.png"], network)
    scores = network.predict(np.asarray(images), verbose=0)[0]
    best = np.argsort(-scores)
    row = rows[4]
    assert json.loads(row["classes"]) == best.tolist() and row["target"] == str(best[1])
    assert json.loads(row["class_names"]) == [CLASSES[i] for i in best] and row["target_name"] == CLASSES[best[1]]
    np.testing.assert_allclose(json.loads(row["scores"]), scores[best], atol=1e-5)
    want = tfviz.GradCAM(network)(np.asarray(images), int(best[1])).numpy().max()
    assert float(row["strength"]) == pytest.approx(float(want), rel=1e-3) and row["layer"] == "conv2"
    assert (output / row["file"]).name == f"grad_cam-{best[1]}-{CLASSES[best[1]]}.png" and (output / row["file"]).is_file()
    assert [row["true_name"] for row in rows] == ["fox"] * 7 + [""] * 3 + ["tabby"] * 3
    assert (rows[0]["true_class"], rows[6]["status"], rows[6]["file"]) == ("2", "failed", "")
    assert "c.png is not a JPEG" in rows[6]["error"]


def test_every_format_has_the_same_rows(material: tuple[Path, Path, Path]) -> None:
    model, photos, output = material
    pytest.importorskip("pyarrow")
    from tfviz.jobs.schema import arrow, schema_of

    assert {explain(model, photos, output, "--table", name) for name in TABLES} == {1}
    rows = json_rows(output / "predictions.jsonl")
    table = arrow().parquet.read_table(output / "predictions.parquet")
    assert table.schema.equals(schema_of(PREDICTION_COLUMNS))
    for mine, other in zip(rows, table.to_pylist(), strict=True):
        assert {k: v for k, v in mine.items() if k not in ("scores", "strength", "classes", "class_names")} == {
            k: v for k, v in other.items() if k not in ("scores", "strength", "classes", "class_names")
        }
        assert other["scores"] is mine["scores"] is None or np.allclose(other["scores"], mine["scores"])
    with (output / "predictions.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]


def test_without_pictures_there_is_only_the_table(material: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, photos, output = material
    assert explain(model, photos, tmp_path, "--no-pictures", "--table", "jsonl") == 1
    assert {path.name for path in tmp_path.iterdir()} == {".explanation", "predictions.jsonl"}
    rows, drawn = json_rows(tmp_path / "predictions.jsonl"), json_rows(output / "predictions.jsonl")
    assert [row | {"file": None} for row in drawn] == rows
    assert {row["file"] for row in rows} == {None}


def test_python_gives_the_same_rows(material: tuple[Path, Path, Path]) -> None:
    model, photos, output = material
    network = tfviz.load_model(model, preprocessing="none", labels=model.with_name("labels.txt"))
    rows = tfviz.GradCAM(network).explain_files(photos, "top2", batch_size=3)
    assert iter(rows) is rows
    found = list(rows)
    written = [row for row in json_rows(output / "predictions.jsonl") if row["method"] != "visual_backprop"]
    for mine, other in zip(found, written, strict=True):
        attribution = mine.pop("map")
        assert list(mine) == list(PREDICTION_COLUMNS)
        assert mine == {**other, "file": None, "strength": mine["strength"], "scores": mine["scores"]}
        assert attribution is None or attribution.shape == (16, 16)
        assert attribution is None or mine["strength"] == attribution.max() == pytest.approx(other["strength"], rel=1e-4)
    pandas = pytest.importorskip("pandas")
    assert list(pandas.DataFrame(found).status.value_counts()) == [8, 1]


def test_a_method_without_a_target_and_bad_targets(material: tuple[Path, Path, Path]) -> None:
    model, photos, _ = material
    network = tfviz.load_model(model, preprocessing="none", labels=model.with_name("labels.txt"))
    row = next(tfviz.VisualBackProp(network).explain_files(photos / "fox/a.png"))
    assert row["target"] is None and row["method"] == "visual_backprop" and row["true_name"] == "fox"
    with pytest.raises(tfviz.TargetError, match="uses one target for all images"):
        tfviz.GradCAM(network).explain_files(photos, np.array([1, 2]))
    with pytest.raises(tfviz.ImageError, match="does not exist"):
        tfviz.GradCAM(network).explain_files("nowhere")


def test_an_image_that_a_late_method_rejects_has_one_failed_row(tmp_path, monkeypatch):
    """Its earlier maps are drawn by another thread, which must not replace the failure."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "net.keras")
    for folder, height, count in (("in", 30, 2), ("backgrounds", 24, 8)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            picture = np.random.default_rng(number).integers(0, 255, (height, 24, 3), dtype=np.uint8)
            write_image(tmp_path / folder / f"{number}.png", picture)
    add_image = Results.add_image

    def late(results, *arguments):
        time.sleep(0.5)
        return add_image(results, *arguments)

    monkeypatch.setattr(Results, "add_image", late)
    words = ["explain", "in", "--model", "net.keras", "--preprocess", "unit", "--output", "out", "--backgrounds", "backgrounds"]
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--method", "grad_cam,guided_backprop,expected_gradients"]) == 1
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert all("backgrounds" in row["error"] for row in rows)
