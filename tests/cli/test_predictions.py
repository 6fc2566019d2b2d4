"""The rows that `tfviz explain` and `Explainer.explain_files` give programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from support.cli_material import save_network, save_pictures

import tfviz
from tfviz.cli.main import main
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
