"""`tfviz explain` from the command line: its output and the effect of every option."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from support.cli_material import LABELS, network, picture, save_network, save_pictures

import tfviz
from tfviz.cli.main import main
from tfviz.images import read_image
from tfviz.methods import METHODS


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "tiny net.keras")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("photos"), ["a.png", "b.png", "c.png"])


@pytest.fixture
def explain(model_file, photos, tmp_path):
    """Run the command on three images and a small network, and return the output folder."""

    def run(*options: str, paths=(photos,), model: Path | str = model_file, code: int = 0, output: str = "out") -> Path:
        folder = tmp_path / output
        argv = ["explain", *map(str, paths), "--model", str(model), "--output", str(folder), *map(str, options)]
        assert main(argv) == code
        return folder

    return run


@pytest.fixture
def labels(tmp_path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(LABELS))
    return path


def files(folder: Path) -> set[str]:
    """Return the files in the output folder, except the records of the run."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != ".explanation"}


def page(folder: Path) -> str:
    return html.unescape((folder / "index.html").read_text("utf-8"))


def tensors(photos: Path, names: str = "abc") -> np.ndarray:
    """Return the images at the network's size, reduced without tfviz."""
    return np.stack([cv2.resize(cv2.imread(str(photos / f"{n}.png"))[..., ::-1], (32, 32), interpolation=cv2.INTER_AREA)
                     for n in names]).astype(np.float32)  # fmt: skip


def test_explain_writes_an_overlay_per_image_and_method_and_a_page(explain, capsys):
    folder = explain()
    expected = {f"{name}/{file}.png" for name in "abc" for file in ("image", "grad_cam", "guided_backprop")}
    assert files(folder) == expected | {"index.html", "predictions.csv"}
    text = page(folder)
    assert all(f'src="{file}"' in text for file in expected)
    assert "What tiny net.keras looks at" in text and "Layer: conv2" in text
    assert capsys.readouterr().out == f"Explained 3 of 3 images with 2 methods: {folder / 'index.html'}\n"


def test_method_all_runs_every_method_for_convolutional_networks_but_the_slowest(explain):
    folder = explain("--method", "all", "--preprocess", "none")
    fitting = {key for key, method in METHODS.items() if not method.needs_attention} - {"rise", "expected_gradients"}
    assert {f"a/{key}.png" for key in fitting} < files(folder)


def test_an_overlay_is_the_methods_map_over_the_image(explain, photos, model_file):
    folder = explain("--method", "Layer-CAM,saliency", "--preprocess", "none")
    model = tfviz.load_model(model_file)
    original = cv2.imread(str(photos / "b.png"))[..., ::-1]
    assert np.array_equal(read_image(folder / "b/image.png"), original)
    for key, style in (("layer_cam", "heatmap"), ("saliency", "signed")):
        values = METHODS[key](model)(tensors(photos, "b"))
        wanted = tfviz.overlay(original[None], values, style=style, underlay="gray")[0]
        assert np.abs(read_image(folder / f"b/{key}.png").astype(int) - wanted).max() <= 1


def test_raw_arrays_are_the_unscaled_maps(explain, photos, model_file):
    folder = explain("--method", "grad_cam,guided_backprop", "--raw")
    model = tfviz.load_model(model_file)
    for key, shape in (("grad_cam", (16, 16)), ("guided_backprop", (32, 32, 3))):
        wanted = METHODS[key](model)(tensors(photos)).numpy()
        arrays = np.stack([np.load(folder / name / f"{key}.npy") for name in "abc"])
        assert arrays.shape[1:] == shape and arrays.dtype == np.float32
        assert np.allclose(arrays, wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


def test_the_page_lists_the_predictions(explain, photos, model_file, labels):
    folder = explain("--labels", labels, "--preprocess", "none")
    scores = tfviz.load_model(model_file).predict(tensors(photos), verbose=0)
    listed = re.findall(r'<ol class="predictions">(.*?)</ol>', page(folder))
    assert len(listed) == 3
    for row, score in zip(listed, scores, strict=True):
        best = np.argsort(-score)
        assert re.findall(r"<span>(.*?)</span>", row) == [
            part for i in best for part in (LABELS[i], f"{score[i]:.2f}")
        ]  # fmt: skip


def test_targets_are_given_by_number_or_name(explain, photos, model_file, labels):
    options = ("--labels", labels, "--method", "grad_cam,visual_backprop", "--raw", "--preprocess", "none")
    folder = explain("--target", "2,Tabby", *options)
    assert {name for name in files(folder) if name.startswith("a/") and name.endswith(".npy")} == {
        "a/grad_cam-2-red_fox.npy", "a/grad_cam-1-tabby.npy", "a/visual_backprop.npy"
    }  # fmt: skip
    model = tfviz.load_model(model_file)
    for target, file in ((2, "grad_cam-2-red_fox.npy"), (1, "grad_cam-1-tabby.npy")):
        wanted = tfviz.GradCAM(model)(tensors(photos), target).numpy()
        for name, one in zip("abc", wanted, strict=True):
            assert np.allclose(np.load(folder / name / file), one, rtol=1e-4, atol=1e-7)
    assert "<h3>tabby, tabby cat</h3>" in page(folder)


def test_top_classes_are_those_of_each_image(explain, photos, model_file):
    folder = explain("--target", "top2,top", "--method", "grad_cam", "--preprocess", "none")
    scores = tfviz.load_model(model_file).predict(tensors(photos), verbose=0)
    for name, score in zip("abc", scores, strict=True):
        best = np.argsort(-score)[:2]
        wanted = {f"{name}/grad_cam-{i}.png" for i in best}
        assert {file for file in files(folder) if file.startswith(f"{name}/grad")} == wanted


def page_parts(folder: Path, name: str) -> list[tuple[str, str, list[str]]]:
    """Return the name, the score and the captions below the maps for each class of an image."""
    article = next(one for one in re.findall(r"<article.*?</article>", page(folder), re.DOTALL) if f"<h2>{name}</h2>" in one)
    sections = re.findall(r"<section>.*?</section>", article, re.DOTALL)
    found = [re.search(r"<h3>(.*?)</h3><p>(.*?)</p>", one) for one in sections]
    notes = [re.findall(r"<figcaption>(.*?)</figcaption>", one) for one in sections]
    return [(head[1], head[2], below) for head, below in zip(found, notes, strict=True)]


@pytest.mark.parametrize(("outputs", "kind"), [(4, "probability"), (1, "probability")])
def test_each_class_is_headed_by_its_score(explain, tmp_path, photos, outputs, kind):
    model = save_network(tmp_path / "net.keras", outputs=outputs)
    folder = explain("--method", "grad_cam", "--target", "0,1", "--preprocess", "none", model=model)
    scores = tfviz.load_model(model).predict(tensors(photos, "a"), verbose=0)[0]
    scores = scores if outputs > 1 else [1 - scores[0], scores[0]]
    assert [part[1] for part in page_parts(folder, "a.png")] == [f"{kind} {score:.2f}" for score in scores[:2]]


def test_unbounded_scores_are_called_outputs(explain, tmp_path, photos):
    whole = network()
    keras.Model(whole.inputs, whole.layers[-2].output).save(tmp_path / "logits.keras")
    folder = explain("--method", "grad_cam", "--preprocess", "none", model=tmp_path / "logits.keras")
    scores = tfviz.load_model(tmp_path / "logits.keras").predict(tensors(photos, "b"), verbose=0)[0]
    assert [part[1] for part in page_parts(folder, "b.png")] == [f"output {scores.max():.2f}"]


def test_a_maps_peak_is_given_relative_to_that_of_the_top_class(explain, photos, model_file, labels):
    options = ("--method", "grad_cam,excitation_backprop", "--preprocess", "none", "--labels", labels)
    folder = explain("--target", "top2", "--raw", *options)
    peaks, sums = [], []
    best = np.argsort(-tfviz.load_model(model_file).predict(tensors(photos, "a"), verbose=0)[0])[:2]
    for i in best:
        file = f"-{i}-{re.sub(r'[^a-z]+', '_', LABELS[i].split(',')[0])}.npy"
        peaks.append(np.load(folder / f"a/grad_cam{file}").max())
        sums.append(np.load(folder / f"a/excitation_backprop{file}").sum())
    first, second = page_parts(folder, "a.png")
    assert first[2] == ["Grad-CAM", f"Excitation backprop<small>sum {sums[0]:.2f} of 1</small>"]
    name = LABELS[best[0]].split(",")[0]
    assert f"peak {round(100 * peaks[1] / peaks[0])}% of {name}" in second[2][0] or "empty" in second[2][0]
    alone = explain("--target", str(best[1]), *options, output="alone")
    assert page_parts(alone, "a.png")[0][2][0] == "Grad-CAM"  # The top class is not explained.


def test_a_nearly_empty_map_is_dim_and_noted(explain, tmp_path, photos, capsys):
    model = network()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([np.abs(kernel[:, :1]) * [[1, 0.001, 0, 0]], bias])
    model.save(tmp_path / "weak.keras")
    folder = explain("--target", "0,1,2", "--method", "grad_cam", "--preprocess", "none", model=tmp_path / "weak.keras")
    assert [part[2] for part in page_parts(folder, "a.png")] == [
        ["Grad-CAM"],
        ["Grad-CAM<small>peak less than 1% of class 0 (nearly empty)</small>"],
        ["Grad-CAM<small>empty: zero everywhere</small>"],
    ]
    strong, weak = (read_image(folder / f"a/grad_cam-{i}.png").astype(int) for i in (0, 1))
    gray = cv2.cvtColor(read_image(folder / "a/image.png"), cv2.COLOR_RGB2GRAY)[..., None]
    assert np.abs(weak - gray * (1 - 0.5**1.4)).max() < np.abs(strong - gray * (1 - 0.5**1.4)).max() / 2
    out = capsys.readouterr().out
    assert "Note: 3 maps of grad_cam are zero everywhere" in out
    assert "Note: 3 maps of grad_cam are nearly empty and drawn dimmed" in out


@pytest.mark.parametrize("scale", ["map", "image"])
def test_all_classes_of_an_image_are_drawn_on_both_scales(explain, photos, model_file, scale):
    options = ("--target", "0,1", "--method", "layer_cam", "--preprocess", "none", "--underlay", "color")
    folder = explain(*options, "--raw", "--scale", scale)
    maps = [np.load(folder / f"a/layer_cam-{i}.npy") for i in (0, 1)]
    other = "image" if scale == "map" else "map"
    places = {scale: folder / "a", other: folder / f"a/{other}-scale"}
    stronger = int(maps[1].max() > maps[0].max())
    files_of = {kind: [read_image(places[kind] / f"layer_cam-{i}.png").astype(int) for i in (0, 1)] for kind in places}
    assert np.array_equal(files_of["map"][stronger], files_of["image"][stronger])
    assert not np.array_equal(files_of["map"][1 - stronger], files_of["image"][1 - stronger])
    image = read_image(folder / "a/image.png")
    wanted = tfviz.overlay(image, maps[0], style="heatmap")
    assert np.abs(files_of["map"][0] - wanted).max() <= 1
    assert f'data-other="a/{other}-scale/layer_cam-0.png"' in page(folder)
    assert re.search(f'<fieldset id="scale" data-drawn="{scale}">', page(folder))
    assert "data-other=" not in page(explain("--method", "layer_cam", output="one"))


def test_the_layer_applies_to_methods_that_take_one(explain):
    folder = explain("--layer", "conv1", "--method", "grad_cam,excitation-backprop,saliency", "--raw")
    shapes = [np.load(folder / f"a/{key}.npy").shape for key in ("grad_cam", "excitation_backprop", "saliency")]
    assert shapes == [(32, 32), (32, 32), (32, 32, 3)]
    pooled = explain("--layer", "pool", "--method", "grad_cam,excitation_backprop", "--raw", output="pool")
    assert [np.load(pooled / f"a/{key}.npy").shape for key in ("grad_cam", "excitation_backprop")] == [(16, 16)] * 2


def test_preprocessing_changes_the_networks_input(explain, photos, model_file, capsys):
    folder = explain("--preprocess", "tf", "--method", "saliency", "--target", "1", "--raw")
    assert capsys.readouterr().err == ""
    wanted = tfviz.Saliency(tfviz.load_model(model_file))(tensors(photos, "a") / 127.5 - 1, 1).numpy()[0]
    assert np.allclose(np.load(folder / "a/saliency-1.npy"), wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def test_a_model_with_unknown_preprocessing_is_noted(explain, capsys):
    explain()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(
        r"Note: No preprocessing is known for tiny net\.keras, so images are passed as RGB values in 0–255.*--preprocess", error
    )


def test_weights_replace_those_of_the_model_file(explain, tmp_path):
    other = network(seed=1)
    other.save_weights(tmp_path / "other.weights.h5")
    before = explain("--method", "saliency", "--raw", output="before")
    after = explain("--method", "saliency", "--raw", "--weights", tmp_path / "other.weights.h5", output="after")
    assert not np.allclose(np.load(before / "a/saliency.npy"), np.load(after / "a/saliency.npy"))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_batch_size_bounds_batches_without_changing_results(explain, monkeypatch, batch_size):
    lengths = []
    call = tfviz.GradCAM.prepare_with_outputs
    count = lambda self, x, *a: lengths.append(len(x)) or call(self, x, *a)  # noqa: E731
    monkeypatch.setattr(tfviz.GradCAM, "prepare_with_outputs", count)
    folder = explain("--batch-size", batch_size, "--method", "grad_cam", "--raw", output="cut")
    assert max(lengths) == batch_size and sum(lengths) == 3
    whole = explain("--method", "grad_cam", "--raw", output="whole")
    for name in "abc":
        one, other = (np.load(path / name / "grad_cam.npy") for path in (folder, whole))
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6 * other.max())


def test_a_network_of_any_size_takes_each_image_at_its_own_size(explain, tmp_path, capsys):
    save_pictures(tmp_path / "mixed", ["a.png", "b.png"])
    cv2.imwrite(str(tmp_path / "mixed/c.png"), picture(3, 24, 28))
    options = {"paths": [tmp_path / "mixed"], "model": save_network(tmp_path / "any.keras", size=(None, None))}
    folder = explain("--method", "saliency", "--raw", **options)
    assert [np.load(folder / name / "saliency.npy").shape[:2] for name in "abc"] == [(40, 60), (40, 60), (24, 28)]
    assert "--image-size" in capsys.readouterr().err
    sized = explain("--method", "saliency", "--raw", "--image-size", "20x30", output="sized", **options)
    assert {np.load(sized / name / "saliency.npy").shape[:2] for name in "abc"} == {(20, 30)}


def test_one_sigmoid_unit_is_two_classes(explain, tmp_path, photos):
    model = save_network(tmp_path / "two.keras", outputs=1)
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    folder = explain("--target", "cat,dog", "--labels", tmp_path / "two.txt", "--method", "grad_cam", model=model)
    assert {"a/grad_cam-0-cat.png", "a/grad_cam-1-dog.png"} < files(folder)
    p = float(tfviz.load_model(model).predict(tensors(photos, "a"), verbose=0)[0, 0])
    assert {f"<span>cat</span><span>{1 - p:.2f}</span>", f"<span>dog</span><span>{p:.2f}</span>"} <= set(
        re.findall(r"<span>\w+</span><span>[\d.]+</span>", page(folder))
    )


def test_a_single_output_is_called_output(explain, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, activation="relu")])
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(1))
    model.save(tmp_path / "steering.keras")
    folder = explain("--method", "grad_cam", model=tmp_path / "steering.keras")
    assert "a/grad_cam.png" in files(folder) and "<h3>output</h3>" in page(folder)


def test_large_images_are_reduced_before_drawing(explain, tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), picture(0, 900, 2400))
    folder = explain(paths=[tmp_path / "large.png"])
    assert {read_image(folder / "large" / f"{name}.png").shape for name in ("image", "grad_cam")} == {(600, 1600, 3)}


def test_results_keep_the_folder_structure_and_unusual_names(explain, tmp_path):
    names = ["cat.png", "cat.bmp", "über tage/Größe 猫.png", "deep/er/x.y.jpg", "deep/image.png", ".hidden/no.png"]
    folder = explain("--method", "visual_backprop", paths=[save_pictures(tmp_path / "in", names)])
    written = {name for name in files(folder) if name.endswith("visual_backprop.png")}
    folders = ("cat", "cat.png", "über tage/Größe 猫", "deep/er/x.y", "deep/image")
    assert written == {f"{one}/visual_backprop.png" for one in folders}


def test_paths_may_follow_options(photos, model_file, tmp_path):
    argv = ["explain", photos / "a.png", "--model", model_file, "--output", tmp_path / "out", photos / "b.png"]
    assert main([str(word) for word in argv]) == 0
    assert {"a/image.png", "b/image.png"} < files(tmp_path / "out")


def test_a_second_run_does_not_explain_the_results_of_the_first(model_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(save_pictures(tmp_path / "in", ["a.png"]))
    for _ in range(2):
        assert main(["explain", ".", "--model", str(model_file)]) == 0
        assert capsys.readouterr().out.startswith("Explained 1 of 1 images")


def test_the_default_model_recognizes_shapes(tmp_path, capsys):
    sample = Path(tfviz.__file__).parent / "shapes/samples/ring.png"
    assert main(["explain", str(sample), "--output", str(tmp_path), "--method", "contrastive-excitation-backprop"]) == 0
    assert "<h3>ring</h3>" in page(tmp_path) and "What the shapes network looks at" in page(tmp_path)
    assert capsys.readouterr().err == ""


def test_photos_are_recognized(shared, tmp_path):
    data = shared / "data"
    model = data / "models/mobilenet_v2_imagenet"
    argv = ["explain", data / "photos", "--model", f"{model}.keras", "--preprocess", f"{model}.json"]
    argv += ["--labels", data / "imagenet_classes.json", "--method", "grad_cam", "--output", tmp_path]
    assert main([str(word) for word in argv]) == 0
    top = dict(re.findall(r"<h2>(.*?)</h2><ol[^>]*><li[^>]*><span>(.*?)</span>", page(tmp_path)))
    certain = [photo for photo in json.loads((data / "photos/boxes.json").read_text()) if photo["label_certain"]]
    assert len(certain) == 15
    assert all(top[photo["file"]] in photo["class_names"] for photo in certain)


def test_a_second_run_adds_to_the_page_and_folders_name_the_true_class(explain, labels, tmp_path):
    for folder in ("tabby", "Red_Fox", "2024"):
        save_pictures(tmp_path / "photos" / folder, ["a.png", "b.png"])
    first, second = tmp_path / "photos/tabby", tmp_path / "photos"
    explain("--labels", labels, "--method", "grad_cam", paths=[first, second / "2024"])
    text = page(explain("--labels", labels, "--method", "grad_cam", paths=[second / "Red_Fox"]))
    names = re.findall('<article data-name="([^"]*)"', text)
    assert len(names) == 6 and names[:1] != names[-1:]
    assert len(re.findall(r"(Right:|True class:) tabby, tabby cat", text)) == 2
    assert len(re.findall(r"(Right:|True class:) red fox", text)) == 2
