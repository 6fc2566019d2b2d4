"""scripts/train_live with less data: the run it writes, the page it serves and its errors."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfviz.images import read_image
from tfviz.runs.layout import find_runs, image_path, picture_path
from tfviz.runs.run_reader import read_records, read_run

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_live"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Load the script as a module, with a hundredth of its data."""
    loader = importlib.machinery.SourceFileLoader("train_live", str(SCRIPT))
    spec = importlib.util.spec_from_loader("train_live", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_live", module)  # for dataclasses
    loader.exec_module(module)
    for name, value in (("SCENES", 96), ("DIGIT_PICTURES", 320), ("HELD_OUT", 200), ("DRAWN_SIDE_PX", 96)):
        monkeypatch.setattr(module, name, value)
    return module


def run_script(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, *words: Any) -> int:
    """Run the script and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["train_live", *map(str, words)])
    return script.exit_code("train_live", lambda: script.run(script.arguments()))


def test_the_shapes_task_writes_a_run_to_its_own_folder(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    assert run_script(script, monkeypatch, "--no-page", "--epochs", 2, "--every", 2, "--log-dir", tmp_path) == 0
    (folder,) = find_runs(tmp_path)
    run, records = read_run(folder), read_records(folder)
    assert re.fullmatch(r"shapes-\d{8}-\d{6}", folder.name)
    assert [method["name"] for method in run["methods"]] == ["visual_backprop", "grad_cam"]
    assert run["labels"][7] == "heart" and run["images"] == [{"height": 96, "width": 96}] * 6
    assert [record["step"] for record in records] == [0, 2, 4, 6, 6] and not any(record["errors"] for record in records)
    first, last = (read_image(picture_path(folder, number, "visual_backprop", 0)) for number in (0, 4))
    assert first.shape == (96, 96, 3) and np.abs(first.astype(int) - last).mean() > 1
    assert np.abs(read_image(image_path(folder, 0)).astype(int) - first).mean() > 1
    out = capsys.readouterr().out
    assert re.search(r"Epoch  2: .*loss \d\.\d{3}", out) and "On 200 new images:" in out
    assert f"To make a film: tfviz film {folder} --output {folder.name}.mp4" in out


def test_watched_and_drawn_scenes_are_the_same(script: types.ModuleType) -> None:
    task = script.shapes(seed=0)
    assert task.watched.shape == (6, 48, 48, 3) and task.training[1].sum(1).max() == 2 and task.training[1].sum(1).min() == 1
    for seen, drawn in zip(task.watched, task.drawn, strict=True):
        shrunk = drawn.reshape(48, 2, 48, 2, 3).mean((1, 3))
        assert np.corrcoef(seen.ravel(), shrunk.ravel())[0, 1] > 0.9
    again, other = script.shapes(seed=0), script.shapes(seed=1)
    assert np.array_equal(task.training[0], again.training[0]) and not np.array_equal(task.training[0], other.training[0])


def bars_file(path: Path, count: int = 400) -> Path:
    """Write images like MNIST's, in which a bar as wide as the digit makes it easy to learn."""
    labels = np.random.default_rng(0).integers(0, 10, count, np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4:24, 4 : 6 + 2 * label] = 255
    np.savez(path, x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    return path


def test_digits_from_a_file_are_learned(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setitem(script.LEARNING_RATE, "mnist", 5e-3)
    words = ("--data", "mnist", "--data-file", bars_file(tmp_path / "bars.npz"), "--no-page", "--log-dir", tmp_path / "runs")
    assert run_script(script, monkeypatch, *words, "--epochs", 6, "--every", 20) == 0
    (folder,) = find_runs(tmp_path / "runs")
    out, records = capsys.readouterr().out, read_records(folder)
    assert f"Digits: {tmp_path / 'bars.npz'}." in out and folder.name.startswith("mnist-")
    # 28 pixels, enlarged three times
    assert read_run(folder)["images"] == [{"height": 84, "width": 168}] * 6
    assert records[0]["logs"] == {} and records[-1]["logs"]["accuracy"] > 0.8
    right = [one["class"] == digit for one, digit in zip(records[-1]["predictions"], script.WATCHED_DIGITS, strict=True)]
    assert np.mean(right) > 0.5


def test_small_digits_are_enlarged_for_the_network(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import digits

    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        digits, "load_digits", lambda: digits.Digits(rng.random((100, 8, 8), np.float32), np.arange(100) // 5 % 10, "x")
    )
    task = script.digits(None, seed=0)
    assert (
        task.training[0].shape == (320, 24, 48, 1) and task.drawn[0].shape == (96, 192, 1) and task.drawn[0].dtype == np.uint8
    )
    assert np.array_equal(task.watched[0], task.drawn[0][::4, ::4])


def test_the_time_limit_ends_the_training(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ("--no-page", "--every", 1000, "--log-dir", tmp_path)
    assert run_script(script, monkeypatch, *words, "--minutes", 1e-6) == 0
    (folder,) = find_runs(tmp_path)
    assert [record["step"] for record in read_records(folder)] == [0, 1]


def test_a_seed_reproduces_a_run(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    losses = []
    for number in range(2):
        run_script(script, monkeypatch, "--no-page", "--epochs", 1, "--seed", 3, "--log-dir", tmp_path / str(number))
        (folder,) = find_runs(tmp_path / str(number))
        losses.append(read_records(folder)[-1]["logs"]["loss"])
    assert losses[0] == losses[1]


def test_the_page_shows_the_run_during_and_after_training(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    output, seen = [""], []

    def look(logs: Any = None) -> str:
        output[0] += capsys.readouterr().out
        address = re.findall(r"http://\S+", output[0])[0]
        page = urllib.request.urlopen(address, timeout=10).read()
        seen.append([(b"<html" in page.lower(), run["snapshots"]) for run in fetched(f"{address}api/runs")])
        return "described"

    monkeypatch.setattr(script, "described", look)
    monkeypatch.setattr(script, "wait_for_ctrl_c", look)
    words = ("--epochs", 1, "--every", 1, "--log-dir", tmp_path, "--port", 0, "--keep")
    assert run_script(script, monkeypatch, *words) == 0
    during, after, kept = seen
    assert during == [] or during[0][0]  # The first snapshot may not exist yet.
    assert after[0][0] and kept == [(True, 5)]
    assert "described" in output[0] and not is_answering(re.findall(r"http://\S+", output[0])[0])


def fetched(address: str) -> Any:
    return json.load(urllib.request.urlopen(address, timeout=10))


def is_answering(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(address, timeout=10))
    except urllib.error.URLError:
        return False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--minutes", 0), "--minutes, --epochs and --every must be positive."),
        (("--epochs", 0), "must be positive"),
        (("--data-file", "x.npz"), "--data-file requires --data mnist."),
        (("--data", "mnist", "--data-file", "nowhere.npz"), "nowhere.npz cannot be read as digits"),
        (("--data", "mnist", "--data-file", SCRIPT), "Pass an .npz file with x_train and y_train."),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any, words: Any, message: str
) -> None:
    assert run_script(script, monkeypatch, "--no-page", "--log-dir", tmp_path, *words) == 2
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1 and message in output.err and output.err.startswith("train_live: error: ")
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_arrays_is_an_error(script: types.ModuleType, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 28, 20)), y_train=np.zeros(3))
    with pytest.raises(
        script.ImageError, match=r"must contain x_train \(N, side, side\) and y_train \(N,\)\. Received: \(3, 28, 20\)"
    ):
        script.digits_in(tmp_path / "a.npz")


def test_a_missing_extra_is_reported_with_its_install_command(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"Run: pip install fastapi uvicorn. Alternatively, pass --no-page"
    with pytest.raises(script.MissingPackageError, match=message), script.page(tmp_path, None):
        pass


def test_a_taken_port_is_an_error(script: types.ModuleType, tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("fastapi")
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port, message = other.getsockname()[1], r"The live page did not start\. Choose another --port"
        with pytest.raises(script.OptionError, match=message), script.page(tmp_path, port):
            pass
    assert "cannot listen on" in capfd.readouterr().err
