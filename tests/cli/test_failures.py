"""Failures of `tfviz explain`: bad images, usage errors and interrupts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from support.cli_material import network, picture, save_network, save_pictures

from tfviz.cli.main import main
from tfviz.cli.results import Results
from tfviz.images import read_image


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "tiny.keras")


@pytest.fixture
def run(model_file, tmp_path):
    def run(*words, model: Path | str = model_file) -> int:
        argv = ["explain", *words, "--model", model]
        return main([str(word) for word in (argv if "--output" in words else [*argv, "--output", tmp_path / "out"])])

    return run


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.jpg"
    if kind == "text":
        path.write_text("not an image\n")
    elif kind == "empty":
        path.touch()
    elif kind == "cut":
        path.write_bytes(cv2.imencode(".jpg", picture(9, 200, 200))[1].tobytes()[:-3000])
    elif kind == "dot":
        cv2.imwrite(str(path), picture(9)[:1, :1])
    elif kind == "wide":
        cv2.imwrite(str(path), np.zeros((4, 20000, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "is not a JPEG"),
        ("empty", "is an empty file"),
        ("cut", "is truncated or damaged"),
        ("dot", "must have at least 2"),
        ("wide", "20000 pixels wide and 4 high, but each side may have at most 16384 pixels"),
    ],
)
def test_a_bad_file_is_skipped_and_listed_at_the_end(run, tmp_path, capsys, kind, reason):
    bad = bad_file(save_pictures(tmp_path / "in", ["a.png", "z.png"]), kind)
    assert run(tmp_path / "in", "--preprocess", "none") == 1
    output = capsys.readouterr()
    first, last = output.out.splitlines()
    assert first.startswith("Explained 2 of 3 images with 2 methods: ")
    assert last.startswith(f"Not explained: {bad}") and reason in last
    assert output.err == last.replace("Not explained", "Skipped") + "\n"
    assert all((tmp_path / f"out/{name}/grad_cam.png").is_file() for name in "az")
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "1 not explained" in page and f"<strong>{bad.name}</strong>" in page and str(bad) not in page


def test_a_closed_pipe_does_not_end_the_run(model_file, tmp_path):
    save_pictures(tmp_path / "in", ["b.png", "c.png"])
    for name in ("a", "z"):
        (tmp_path / f"in/{name}.jpg").write_text("not an image")
    argv = [sys.executable, "-m", "tfviz", "explain", tmp_path / "in", "--model", model_file, "--output", tmp_path / "out"]
    argv += ["--preprocess", "none", "--batch-size", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout.readline().startswith("Skipped: ")  # as `2>&1 | head -1` does
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("[!.]*/*")}
    assert written == {f"{name}/{file}.png" for name in "bc" for file in ("image", "grad_cam", "guided_backprop")}
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {"index.html", "predictions.csv", ".explanation"}


def test_the_page_is_written_if_no_image_can_be_read(run, tmp_path):
    assert run(bad_file(tmp_path, "text")) == 1
    assert "0 images" in (tmp_path / "out/index.html").read_text("utf-8")


def test_a_file_that_disappears_during_the_run_is_one_failure(run, tmp_path, capsys, monkeypatch):
    # Some images are read ahead.
    save_pictures(tmp_path / "in", [f"{name}.png" for name in "abcdefghij"])
    add_image = Results.add_image

    def add_and_delete(self, *arguments):
        (tmp_path / "in/j.png").unlink(missing_ok=True)
        add_image(self, *arguments)

    monkeypatch.setattr(Results, "add_image", add_and_delete)
    assert run(tmp_path / "in", "--batch-size", 1) == 1
    out = capsys.readouterr().out
    assert out.startswith("Explained 9 of 10") and f"Not explained: The file {tmp_path / 'in/j.png'} does not exist." in out


def test_nan_in_a_map_fails_the_image_but_not_the_run(run, tmp_path, capsys):
    broken = network()
    broken.get_layer("conv1").set_weights([np.full((3, 3, 3, 6), np.nan), np.zeros(6)])
    broken.save(tmp_path / "nan.keras")
    assert run(save_pictures(tmp_path / "in", ["a.png"]), "--method", "saliency", model=tmp_path / "nan.keras") == 1
    output = capsys.readouterr()
    assert "a.png: The attribution contains NaN or infinite values (3072 of 3072)" in output.out.splitlines()[-1]
    assert "These values originate in the output of 'conv1' and reach the network's output" in output.out + output.err


def test_an_image_too_small_for_the_network_is_one_failure(run, tmp_path, capsys):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 9, activation="relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, x).save(tmp_path / "any.keras")
    save_pictures(tmp_path / "in", ["a.png"])
    cv2.imwrite(str(tmp_path / "in/small.png"), picture(0, 5, 7))
    assert run(tmp_path / "in", model=tmp_path / "any.keras") == 1
    assert "small.png: The model does not support images of 5x7 pixels" in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "out/a/grad_cam.png").is_file()


def test_maps_that_are_zero_everywhere_are_noted(run, tmp_path, capsys):
    dead = network()
    dead.get_layer("conv2").set_weights([np.zeros((3, 3, 6, 8)), -np.ones(8)])
    dead.save(tmp_path / "dead.keras")
    assert run(save_pictures(tmp_path / "in", ["a.png", "b.png"]), "--method", "grad_cam", model=tmp_path / "dead.keras") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Note: 2 maps of grad_cam are zero everywhere"


@pytest.fixture
def workdir(tmp_path, monkeypatch) -> Path:
    """A working directory with unsuitable files and folders."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path / "in", ["a.png"])
    (tmp_path / "void").mkdir()
    (tmp_path / "notes.txt").write_text("plain text")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("missing.jpg", r"The file or folder missing\.jpg does not exist"),
        ("in missing.jpg", r"The file or folder missing\.jpg does not exist"),
        ("void", r"The folder void contains no image"),
        ("in --output in", r"The output folder in is also the image folder"),
        ("in --output notes.txt", r"notes\.txt is not a folder"),
        ("in --output notes.txt/deep", r"notes\.txt is not a folder"),
        ("in --method grad_cma", r"no method 'grad_cma'. Did you mean 'grad_cam'"),
        ("in --layer conv3", r"no layer 'conv3'. Did you mean 'conv\d'"),
        ("in --layer logits", r"grad_cam: Layer 'logits' has shape .* but a map needs a height and a width"),
        ("in --layer logits --method excitation_backprop", r"Layer 'logits' has shape .* but a map needs a height and a width"),
        ("in --layer conv1 --method saliency,deconvnet", r"None of the chosen methods accepts a layer.*grad_cam"),
        ("in --layer logits --method all", r"but a map needs a height and a width"),
        ("in --target 4", r"4 classes \(0 to 3\)"),
        ("in --target tabby", r"No class is named 'tabby'"),
        ("in --target top5", r"top1 to top4"),
        ("in --target top0", r"top1 to top4"),
        ("in --labels nowhere.txt", r"nowhere\.txt cannot be read"),
        ("in --labels notes.txt", r"number of outputs, 4\. Received: 1 \(notes\.txt\)"),
        ("in --preprocess troch", r"Unknown preprocessing 'troch'"),
        ("in --preprocess notes.txt", r"is not valid JSON"),
        ("in --image-size 64x64", r"supports only images of \(32, 32\)"),
        ("in --weights notes.txt", r"notes\.txt has an unsupported file extension"),
        ("in --weights gone.weights.h5", r"The file gone\.weights\.h5 does not exist"),
        ("in --model vgg61", r"'vgg61' is neither the name of a network nor a file.*Did you mean .*'vgg16'"),
        ("in --model gone.keras", r"'gone\.keras' is neither the name of a network nor a file"),
        ("in --model notes.txt", r"notes\.txt is not a complete model"),
    ],
)
def test_a_usage_error_is_one_line(workdir, model_file, capsys, words, message):
    words = words.split()
    assert main(["explain", *words, *([] if "--model" in words else ["--model", str(model_file)])]) == 2
    output = capsys.readouterr()
    lines = [line for line in output.err.splitlines() if not line.startswith("Note: ")]
    assert output.out == "" and len(lines) == 1
    assert lines[0].startswith("tfviz explain: error: ") and re.search(message, lines[0])
    assert not (workdir / "tfviz-output").exists()


def test_a_missing_path_is_reported_before_tensorflow_is_imported(tmp_path):
    code = "import sys; from tfviz.cli.main import main; main(sys.argv[1:]); sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, "explain", tmp_path / "missing.jpg"], check=True, capture_output=True)


def test_an_unsuitable_method_is_skipped_from_all_and_an_error_by_name(run, tmp_path, capsys):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dense(6, activation="relu")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "dense.keras")
    save_pictures(tmp_path / "in", ["a.png"])
    assert run(tmp_path / "in", "--method", "all", model=tmp_path / "dense.keras") == 0
    error = capsys.readouterr().err
    assert "Skipped grad_cam: tfviz cannot choose a layer" in error and "Skipped visual_backprop: " in error
    assert {path.name for path in (tmp_path / "out/a").iterdir()} >= {"saliency.png", "excitation_backprop.png"}
    assert not (tmp_path / "out/a/grad_cam.png").exists()
    assert run(tmp_path / "in", "--method", "saliency,grad_cam", model=tmp_path / "dense.keras") == 2
    assert "tfviz explain: error: grad_cam: tfviz cannot choose a layer" in capsys.readouterr().err


def test_a_guided_method_without_relu_is_noted(run, tmp_path, capsys):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="tanh")(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "tanh.keras")
    save_pictures(tmp_path / "in", ["a.png"])
    assert run(tmp_path / "in", "--preprocess", "unit", model=tmp_path / "tanh.keras") == 0
    assert capsys.readouterr().err.startswith("Note: guided_backprop redirects ReLUs, but ")


def test_a_model_without_classes_only_suits_methods_without_a_target(run, tmp_path, capsys):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    keras.Model(inputs, keras.layers.Conv2D(2, 1)(x)).save(tmp_path / "map.keras")
    save_pictures(tmp_path / "in", ["a.png"])
    assert run(tmp_path / "in", "--method", "all", "--raw", model=tmp_path / "map.keras") == 0
    assert {path.name for path in (tmp_path / "out/a").iterdir()} == {
        "image.png", "visual_backprop.png", "visual_backprop.npy", "eigen_cam.png", "eigen_cam.npy"
    }  # fmt: skip
    assert run(tmp_path / "in", "--method", "grad_cam", model=tmp_path / "map.keras") == 2
    assert "grad_cam: The model is not a classifier with one output (N, classes)" in capsys.readouterr().err


def test_an_unwritable_output_is_a_usage_error(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("in the way")
    assert run(save_pictures(tmp_path / "in", ["a.png"])) == 2
    assert "cannot be written" in capsys.readouterr().err.splitlines()[-1]


def interrupt_at(monkeypatch, count: int, error: BaseException) -> None:
    """Raise `error` on the given call of `Results.add_maps`."""
    add_maps, calls = Results.add_maps, []

    def stop(self, *arguments):
        calls.append(1)
        if len(calls) == count:
            raise error
        add_maps(self, *arguments)

    monkeypatch.setattr(Results, "add_maps", stop)


def test_ctrl_c_keeps_finished_maps_and_writes_the_page(run, tmp_path, capsys, monkeypatch):
    interrupt_at(monkeypatch, 4, KeyboardInterrupt())
    save_pictures(tmp_path / "in", ["a.png", "b.png", "c.png"])
    assert run(tmp_path / "in", "--method", "grad_cam,saliency", "--batch-size", 1) == 130
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Stopped after 2 of 3 images; finished maps are kept: {tmp_path / 'out/index.html'}"]
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "a/saliency.png" in page and "b/grad_cam.png" in page and "b/saliency.png" not in page


def test_ctrl_c_before_the_first_image_keeps_an_older_page(run, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/index.html").write_text("older")
    monkeypatch.setattr(Results, "add_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(save_pictures(tmp_path / "in", ["a.png"])) == 130
    assert (tmp_path / "out/index.html").read_text() == "older"


def test_an_unexpected_error_propagates_after_the_page_is_written(run, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(save_pictures(tmp_path / "in", ["a.png"]))
    assert "a/grad_cam.png" in (tmp_path / "out/index.html").read_text("utf-8")


def test_sigint_leaves_no_partial_file(model_file, tmp_path):
    folder = save_pictures(tmp_path / "in", [f"{number:03}.png" for number in range(400)])
    # A background job of a shell ignores SIGINT, and child processes inherit that.
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import tfviz.__main__"
    argv = [sys.executable, "-c", command, "explain", folder, "--model", model_file, "--output", tmp_path / "out"]
    argv += ["--method", "grad_cam,smooth_grad", "--batch-size", "4", "--raw", "--preprocess", "none"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "out/005/grad_cam.png", process)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert all(line.startswith(("Skipped ", "Note: ")) for line in err.splitlines()), err
    assert len(out.splitlines()) == 1 and out.startswith("Stopped after ")
    assert (tmp_path / "out/index.html").read_text("utf-8").rstrip().endswith("</html>")
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.parent.name != ".explanation"]
    assert {path.suffix for path in written} == {".png", ".npy", ".html", ".csv"}
    assert all(read_image(path).shape == (40, 60, 3) for path in written if path.suffix == ".png")
    assert all(np.isfinite(np.load(path)).all() for path in written if path.suffix == ".npy")


def wait_for(path: Path, process: subprocess.Popen, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
