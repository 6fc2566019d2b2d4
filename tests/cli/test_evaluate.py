"""`tfviz evaluate` from the command line: its files, its options, and how it resumes."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from support.browser import NARROW, WIDE
from support.cli_material import LABELS, save_network, save_pictures

import tfviz
from tfviz.cli.main import main
from tfviz.images import read_image, write_image
from tfviz.metrics.image_scores import ImageScorer

FAST = ("--metrics", "single_deletion")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "tiny net.keras")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("photos"), ["a.png", "b.png", "c.png"])


@pytest.fixture
def evaluate(model_file, photos, tmp_path):
    """Run the command on three images and a small network, and return the output folder."""

    def run(
        *options, paths=(photos,), model=model_file, code: int = 0, methods: str = "grad_cam,saliency", output="out"
    ) -> Path:
        folder = tmp_path / output
        argv = ["evaluate", *paths, "--model", model, "--preprocess", "unit", "--methods", methods, "--output", folder]
        assert main([str(word) for word in [*argv, *options]]) == code
        return folder

    return run


@pytest.fixture
def labels(tmp_path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(LABELS))
    return path


@pytest.fixture
def boxes(tmp_path) -> Path:
    path = tmp_path / "boxes.json"
    entry = {"width": 60, "height": 40, "boxes": [[10, 5, 40, 30]]}
    path.write_text(json.dumps([{**entry, "file": f"{name}.png", "classes": [1]} for name in "ab"]))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def page(folder: Path) -> str:
    return html.unescape((folder / "report.html").read_text("utf-8"))


# --- the report -----------------------------------------------------------------------------------


def test_the_report_has_tables_scores_curves_sanity_checks_and_maps(evaluate, capsys):
    folder = evaluate("--metrics", "single_deletion,deletion_insertion,sanity")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()}
    names = {"report.html", "report.md", "report.csv", "scores.csv", "sanity.csv", "figures/curves.png", "figures/sanity.png"}
    assert names <= files
    assert capsys.readouterr().out == f"Evaluated 3 of 3 images with 2 methods: {folder / 'report.html'}\n"
    text = page(folder)
    assert "How faithful are the maps for tiny net.keras?" in text and "does not decide here" in text
    assert all(f"<h2>{title}</h2>" in text for title in ("single deletion", "insertion minus deletion", "Curves"))
    assert "on the upper half of the layers" in text and "kept)" in text
    for source in re.findall(r'src="([^"]+)"', text):
        assert (folder / source).is_file()
    for control in ("random", "center", "edges", "constant"):
        assert f"*{control}*" in (folder / "report.md").read_text() and f"<td>{control}</td>" in text


def test_the_scores_are_those_of_evaluate(evaluate, photos, model_file):
    folder = evaluate("--metrics", "single_deletion,road", "--seed", 3)
    model = tfviz.load_model(model_file, preprocessing="unit")
    images = np.asarray(tfviz.load_images(photos, model))
    wanted = tfviz.evaluate(model, images, ["grad_cam", "saliency"], ["single_deletion", "road"], seed=3)
    got = rows_of(folder / "report.csv")
    assert [(row["method"], row["metric"]) for row in got] == [(row["method"], row["metric"]) for row in wanted.rows]
    np.testing.assert_allclose([float(row["value"]) for row in got], [row["value"] for row in wanted.rows], atol=1e-5)
    np.testing.assert_allclose([float(row["low"]) for row in got], [row["low"] for row in wanted.rows], atol=1e-4)
    scores = rows_of(folder / "scores.csv")
    assert {row["image"] for row in scores} == {"a.png", "b.png", "c.png"}
    np.testing.assert_allclose([float(row["value"]) for row in scores], [row["value"] for row in wanted.scores], atol=1e-5)


def test_boxes_are_scored_drawn_and_named(evaluate, boxes, labels, photos):
    folder = evaluate("--metrics", "pointing_game,mass_in_region", "--boxes", boxes, "--labels", labels)
    scores = [row for row in rows_of(folder / "scores.csv") if row["method"] == "grad_cam"]
    assert {(row["image"], row["target"], row["target_name"]) for row in scores} == {
        (f"{name}.png", "1", "tabby, tabby cat") for name in "ab"
    }
    assert re.search(r"pointing (hit|miss)", page(folder))
    drawn, original = read_image(folder / "maps/a/image.png"), read_image(photos / "a.png")
    differs = np.any(drawn != original, axis=-1)
    assert (drawn[5, 10:40] == 255).all() and (drawn[5:30, 10] == 255).all()
    assert not differs[10:25, 15:35].any() and not differs[:3].any()
    assert (read_image(folder / "maps/c/image.png") == read_image(photos / "c.png")).all()


def test_the_class_with_the_highest_score_stands_for_an_object(evaluate, tmp_path, photos, model_file):
    (tmp_path / "many.json").write_text(json.dumps([{"file": "a.png", "classes": [0, 1, 2, 3], "boxes": [[1, 1, 9, 9]]}]))
    folder = evaluate("--metrics", "mass_in_region", "--boxes", tmp_path / "many.json")
    model = tfviz.load_model(model_file, preprocessing="unit")
    top = model.predict(np.asarray(tfviz.load_images(photos / "a.png", model)), verbose=0)[0].argmax()
    assert {row["target"] for row in rows_of(folder / "scores.csv")} == {str(top)}


def test_boxes_follow_a_crop(evaluate, tmp_path, photos):
    preprocessing = {"size": [32, 32], "formula": "x/255", "resize": "short side 40, center crop 32"}
    (tmp_path / "crop.json").write_text(json.dumps(preprocessing))
    (tmp_path / "boxes.json").write_text(json.dumps([{"file": "a.png", "classes": [1], "boxes": [[14, 4, 30, 36]]}]))
    folder = evaluate("--preprocess", tmp_path / "crop.json", "--boxes", tmp_path / "boxes.json", "--metrics", "mass_in_region")
    drawn = read_image(folder / "maps/a/image.png")
    assert drawn.shape == (32, 32, 3)
    assert (drawn[:, 15] == 255).all() and (drawn[:, 20] == read_image(photos / "a.png")[4:36, 34]).all()


def test_a_target_is_a_class_for_all_images(evaluate, labels):
    folder = evaluate(*FAST, "--targets", "red fox", "--labels", labels)
    assert {row["target"] for row in rows_of(folder / "scores.csv")} == {"2"}
    assert (folder / "maps/a/grad_cam-2-red_fox.png").is_file()


def test_the_layer_is_used_and_stated(evaluate):
    folder = evaluate(*FAST, "--layer", "conv1")
    assert {row["layer"] for row in rows_of(folder / "report.csv") if row["method"] == "grad_cam"} == {"conv1"}


def test_default_metrics_include_the_sanity_check(evaluate, tmp_path, photos):
    save_pictures(tmp_path / "one", ["a.png"])
    folder = evaluate(paths=[tmp_path / "one"], methods="grad_cam")
    assert {row["metric"] for row in rows_of(folder / "report.csv")} >= {"single_deletion", "deletion", "insertion", "road"}
    assert (folder / "sanity.csv").is_file()


def test_sanity_checks_alone_need_no_scores(evaluate):
    folder = evaluate("--metrics", "sanity")
    assert not (folder / "report.csv").exists()
    assert {row["method"] for row in rows_of(folder / "sanity.csv")} == {"grad_cam", "saliency"}
    assert 'data-method="Grad-CAM"' in page(folder)


def test_a_blank_map_is_counted_and_named(evaluate, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer=keras.initializers.Constant(-99))(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "dead.keras")
    folder = evaluate(*FAST, model=tmp_path / "dead.keras", methods="grad_cam")
    assert [row["blank"] for row in rows_of(folder / "report.csv") if row["method"] == "grad_cam"] == ["3"]
    assert "blank map" in page(folder)


# --- failures -------------------------------------------------------------------------------------


def test_one_bad_file_does_not_stop_the_run(evaluate, tmp_path, capsys):
    folder = save_pictures(tmp_path / "in", ["a.png", "z.png"])
    (folder / "bad.png").write_text("not an image")
    output = evaluate(*FAST, paths=[folder], code=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Evaluated 2 of 3 images") and lines[1].startswith(f"Not evaluated: {folder / 'bad.png'}: ")
    assert {row["image"] for row in rows_of(output / "scores.csv")} == {"a.png", "z.png"}
    assert "<strong>bad.png</strong>" in page(output)


def test_an_image_of_another_size_than_annotated_is_one_failure(evaluate, tmp_path, capsys):
    entry = {"width": 60, "height": 40, "boxes": [[10, 5, 40, 30]], "classes": [1]}
    entries = [{**entry, "file": "a.png"}, {**entry, "file": "b.png", "width": 61}]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    folder = evaluate("--metrics", "mass_in_region", "--boxes", tmp_path / "boxes.json", code=1)
    assert "has 61x40 pixels, but the image has 60x40" in capsys.readouterr().out
    assert {row["image"] for row in rows_of(folder / "scores.csv")} == {"a.png"}


def test_images_without_annotations_are_noted(evaluate, boxes, capsys, tmp_path):
    entries = json.loads(boxes.read_text())
    boxes.write_text(json.dumps([*entries, {**entries[0], "file": "elsewhere.png"}]))
    evaluate("--metrics", "mass_in_region", "--boxes", boxes)
    notes = capsys.readouterr().err
    assert "1 annotated images are not among the given images, for example 'elsewhere.png'" in notes
    assert "1 of 3 images have no annotations" in notes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metrics", "deletoin"), "no metric 'deletoin'"),
        (("--metrics", "pointing_game"), "boxes"),
        (("--methods", "grad_kam"), "grad_kam"),
        (("--targets", "top2"), 'Expected one class, or "top", for --targets. Received: 2 classes.'),
        (("--targets", "zebra"), "zebra"),
        (("--layer", "conv9"), "conv9"),
        (("--boxes", "missing.json"), "missing.json does not exist"),
        (("--seed", "-1"), "--seed"),
        (("--batch-size", "0"), "--batch-size: Expected a positive integer"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(evaluate, capsys, options, said):
    folder = evaluate(*options, code=2)
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not (folder / "report.html").exists()


def test_wrong_boxes_are_one_line(evaluate, capsys, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps([{"file": "a.png", "classes": [7], "boxes": [[1, 1, 9, 9]]}]))
    evaluate("--boxes", tmp_path / "boxes.json", code=2)
    assert "contains class 7, but the model has 4 classes" in capsys.readouterr().err
    (tmp_path / "boxes.json").write_text(json.dumps([{"file": "x.png", "classes": [1], "boxes": [[1, 1, 9, 9]]}]))
    evaluate("--boxes", tmp_path / "boxes.json", code=2)
    assert "None of the annotated images matches an image file" in capsys.readouterr().err


def test_a_model_that_cannot_be_copied_is_noted_in_the_report(evaluate, monkeypatch, capsys):
    def refuse(*args, **options):
        raise tfviz.UnsupportedModelError("The sanity check randomizes a copy of the model, and 'x' cannot be copied: no.")
        yield

    monkeypatch.setattr("tfviz.cli.evaluation_run.scores_by_method", refuse)
    folder = evaluate("--metrics", "single_deletion,sanity")
    assert "The sanity checks were skipped." in page(folder) and "cannot be copied" in (folder / "report.md").read_text()
    assert "cannot be copied" in capsys.readouterr().err


# --- resuming -------------------------------------------------------------------------------------


def count_scored(monkeypatch) -> list[int]:
    """Return a list that receives the number of images of each call to score some."""
    counts: list[int] = []
    score = ImageScorer.score_images

    def counting(self, images, *args, **options):
        counts.append(len(images))
        return score(self, images, *args, **options)

    monkeypatch.setattr(ImageScorer, "score_images", counting)
    return counts


def test_a_second_run_computes_nothing_twice(evaluate, monkeypatch):
    folder = evaluate("--metrics", "single_deletion,sanity")
    before = {name: (folder / name).read_bytes() for name in ("report.md", "scores.csv", "sanity.csv")}
    counts = count_scored(monkeypatch)
    monkeypatch.setattr("tfviz.cli.evaluation_run.scores_by_method", lambda *a, **k: pytest.fail("was run again"))
    evaluate("--metrics", "single_deletion,sanity", "--batch-size", 1)
    assert counts == []
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_changed_image_is_scored_again_and_a_new_label_file_needs_nothing(evaluate, tmp_path, labels, monkeypatch):
    folder = save_pictures(tmp_path / "in", ["a.png", "b.png"])
    output = evaluate(*FAST, paths=[folder])
    before = rows_of(output / "scores.csv")
    write_image(folder / "b.png", 255 - read_image(folder / "b.png"))
    counts = count_scored(monkeypatch)
    evaluate(*FAST, "--labels", labels, paths=[folder])
    assert counts == [1]
    after = rows_of(output / "scores.csv")
    assert len(after) == len(before)
    changed = {new["image"] for new, old in zip(after, before, strict=True) if new["value"] != old["value"]}
    assert changed == {"b.png"}
    assert {row["target_name"] for row in after} <= set(LABELS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--methods", "grad_cam"), "methods was grad_cam (conv2), saliency and is now grad_cam (conv2)"),
        (("--layer", "conv1"), "grad_cam (conv1)"),
        (("--metrics", "road"), "--metrics was single_deletion and is now road"),
        (("--targets", "1"), "--targets was top and is now 1"),
        (("--seed", "1"), "--seed was 0 and is now 1"),
        (("--preprocess", "tf"), "preprocessing was "),
    ],
)
def test_other_arguments_are_refused_with_the_difference(evaluate, capsys, options, said):
    folder = evaluate(*FAST)
    before = (folder / "report.csv").read_bytes()
    evaluate(*FAST, *options, code=2)
    error = capsys.readouterr().err
    assert said in error and "--overwrite" in error
    assert (folder / "report.csv").read_bytes() == before
    evaluate(*FAST, *options, "--overwrite")
    assert (folder / "report.csv").read_bytes() != before


def test_other_backgrounds_are_refused_with_the_difference(evaluate, tmp_path, capsys):
    one, other = (save_pictures(tmp_path / name, [f"{n}.png" for n in range(8)]) for name in ("one", "other"))
    folder = evaluate(*FAST, "--backgrounds", one, methods="expected_gradients")
    assert {row["method"] for row in rows_of(folder / "report.csv")} > {"expected_gradients"}
    evaluate(*FAST, "--backgrounds", other, methods="expected_gradients", code=2)
    assert f"--backgrounds was {one} and is now {other}" in capsys.readouterr().err


def test_another_model_is_refused(evaluate, capsys, tmp_path):
    evaluate(*FAST)
    other = save_network(tmp_path / "tiny net.keras", seed=1)
    evaluate(*FAST, model=other, code=2)
    assert re.search(r"model was tiny net\.keras \w+ and is now tiny net\.keras \w+", capsys.readouterr().err)


def test_other_boxes_or_images_are_refused(evaluate, capsys, boxes, photos):
    options = ("--metrics", "mass_in_region", "--boxes", boxes)
    evaluate(*options)
    boxes.write_text(boxes.read_text().replace("[10, 5", "[11, 5"))
    evaluate(*options, paths=[photos / "a.png"], code=2)
    assert "--boxes was boxes.json" in (error := capsys.readouterr().err) and "images was 3 files" in error


def test_a_line_that_was_cut_off_is_scored_again(evaluate, monkeypatch):
    folder = evaluate(*FAST)
    finished = folder / ".evaluation" / "finished.jsonl"
    whole = finished.read_text()
    finished.write_text(whole[:-200])
    counts = count_scored(monkeypatch)
    evaluate(*FAST)
    assert counts == [1]
    assert sorted(finished.read_text().splitlines()) == sorted(whole.splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, model_file, number):
    photos = save_pictures(tmp_path / "photos", [f"{i:02}.png" for i in range(40)])
    output = tmp_path / "out"
    argv = [
        sys.executable,
        "-m",
        "tfviz",
        "evaluate",
        photos,
        "--model",
        model_file,
        "--preprocess",
        "unit",
        "--batch-size",
        "1",
    ]
    argv += ["--methods", "grad_cam", "--metrics", "single_deletion,deletion_insertion", "--output", output]
    environment = {**os.environ, "PYTHONPATH": str(Path(tfviz.__file__).parents[1])}
    finished = output / ".evaluation" / "finished.jsonl"
    process = subprocess.Popen(
        list(map(str, argv)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 240
    while not (finished.exists() and finished.read_text().count("\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, _ = process.communicate(timeout=240)
    first = finished.read_text()
    lines = [line for line in first.splitlines(keepends=True) if line.endswith("\n")]
    assert 3 <= len(lines) < 40
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    if number == signal.SIGTERM:
        assert f"Stopped after {len(lines)} of 40 images; run the same command again" in out
        assert (output / "report.html").is_file()
    assert main([str(word) for word in argv[3:]]) == 0
    assert finished.read_text().startswith("".join(lines))  # nothing is computed twice
    names = [json.loads(line)["name"] for line in finished.read_text().splitlines()]
    assert sorted(names) == [f"{i:02}" for i in range(40)]
    assert len({row["image"] for row in rows_of(output / "scores.csv")}) == 40


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_scores_in_the_report_are_legible_in_every_window(size, evaluate, open_page):
    """Names stay whole, and an interval's line is not taken for the minus sign of the value."""
    page = open_page((evaluate(*FAST) / "report.html").as_uri(), size)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    places = page.evaluate("""() => [...document.querySelectorAll('.card tr:not(:first-child)')].map(row => {
        const [name, range, value] = row.cells, text = document.createRange();
        text.selectNodeContents(value);
        const lines = [...range.children].map(one => one.getBoundingClientRect().right);
        return [name.clientWidth, Math.max(...lines), text.getBoundingClientRect().left];
    })""")
    assert len(places) >= 6
    assert all(width > 60 and line + 8 <= value for width, line, value in places)


def test_two_runs_do_not_write_to_one_folder(evaluate, capsys):
    from tfviz.runs.folder_lock import FolderLock

    folder = evaluate(*FAST)
    lock = FolderLock()
    lock.take(folder / ".evaluation")
    try:
        evaluate(*FAST, code=2)
    finally:
        lock.release()
    assert "Another evaluation run is writing to" in capsys.readouterr().err
    evaluate(*FAST)
