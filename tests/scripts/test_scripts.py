"""The scripts, run from the command line: the files that they write and their error messages."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.vgg_files import random_vgg, write_npy

from tfviz.images import read_image, write_image
from tfviz.models import load_images, load_model

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = ("guided_backprop_vgg19", "visual_backprop_vgg16", "one_image_resnet50", "excitation_vgg16", "excitation_digits")
MOST_LINES = 60
FILES = {"bird/a b": "bird/a b.png", "cat/ü": "cat/ü.jpg", "cat/x": "cat/x.bmp", "dog/y": "dog/y.tiff"}


def picture(seed: int, height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Script:
    """Run scripts in this process, where TensorFlow is already loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, name: str, *words: Any) -> tuple[int, str, list[str]]:
        """Run a script and return its exit code, its output and its error lines."""
        self.monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        out, err = self.capsys.readouterr()
        return int(stop.value.code or 0), out, err.splitlines()

    def error(self, name: str, *words: Any) -> str:
        """Run a script that fails, and return its error line."""
        code, _, lines = self(name, *words)
        assert code == 2 and len(lines) == 1 and lines[0].startswith(f"{name}: error: ")
        return lines[0]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(monkeypatch, capsys)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write weights files of narrow networks with three classes."""
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_npy(folder / f"{name}.npy", random_vgg(name, classes=3)) for name in ("vgg16", "vgg19")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, file in enumerate(FILES.values()):
        write_image(tmp_path / "photos" / file, picture(seed))
    return tmp_path / "photos"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_short_and_has_help(name: str, script: Script) -> None:
    path = SCRIPTS / name
    assert len(path.read_text().splitlines()) <= MOST_LINES
    code, out, _ = script(name, "--help")
    assert code == 0 and f"scripts/{name} " in out and "usage" in out


def test_errors_come_without_log_messages() -> None:
    command = [sys.executable, SCRIPTS / "guided_backprop_vgg19", "nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "guided_backprop_vgg19: error: The file or folder nowhere does not exist. "
        "Pass image files (JPEG, PNG, BMP, WebP or TIFF) or folders that contain such files."
    ]


# guided_backprop_vgg19


def test_guided_backprop_writes_a_map_per_image(script: Script, weights: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("big cat, cat\nbig cat\nbig cat\n")
    words = (photos, "--weights", weights["vgg19"], "--output", tmp_path / "maps")
    assert script("guided_backprop_vgg19", *words, "--labels", tmp_path / "labels.txt", "--batch-size", 3)[0] == 0
    assert files_in(tmp_path / "maps") == {f"map_{i}_class_big_cat.png" for i in range(4)}
    drawn = read_image(tmp_path / "maps" / "map_3_class_big_cat.png")
    assert drawn.shape == (50, 50, 3) and drawn.std() > 5


def test_guided_backprop_takes_a_pattern(script: Script, weights: Any, photos: Path, tmp_path: Path) -> None:
    words = ("guided_backprop_vgg19", photos, "--weights", weights["vgg19"], "--output", tmp_path / "maps")
    script(*words, "--pattern", "*.[jt]*")
    names = sorted(files_in(tmp_path / "maps"))
    assert len(names) == 2 and names[0].startswith("map_0_class_") and names[0][-5] in "012"
    assert "No image in" in script.error(*words, "--pattern", "*.gif")


def test_an_unreadable_image_is_skipped(script: Script, weights: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "ü.jpg").write_bytes((photos / "cat" / "ü.jpg").read_bytes()[:300])
    words = (photos, "--weights", weights["vgg19"], "--output", tmp_path / "maps")
    code, _, lines = script("guided_backprop_vgg19", *words)
    assert code == 1 and len(lines) == 1 and "ü.jpg is truncated" in lines[0]
    # ü comes after x
    assert {name[:5] for name in files_in(tmp_path / "maps")} == {"map_0", "map_1", "map_3"}


# visual_backprop_vgg16


def visual_backprop(script: Script, photos: Path, checkpoint: Path, *words: Any) -> set[str]:
    output = photos.parent / "results"
    code, _, lines = script("visual_backprop_vgg16", "--dir", photos, "--cp", checkpoint, "--output", output, *words)
    assert (code, lines) == (0, [])
    return files_in(output) if output.exists() else set()


def test_visual_backprop_writes_three_files_per_image(script: Script, weights: Any, photos: Path) -> None:
    written = visual_backprop(script, photos, weights["vgg16"], "--bs", 3, "--ms", 1)
    assert written == {f"{name}_{kind}.png" for name in FILES for kind in ("img", "outputseg", "over")}
    image, mask, over = (read_image(photos.parent / "results/cat" / f"x_{kind}.png") for kind in ("img", "outputseg", "over"))
    assert np.array_equal(image, picture(2)[:, 10:60])
    assert mask.min() == 0 and mask.max() > 100 and (mask[..., 0] == mask[..., 2]).all()
    expected = image * (1 - mask / 255.0) + mask / 255.0 * np.array([255, 0, 0])
    assert np.abs(over - expected).max() < 2


def test_only_misclassified_skips_correct_predictions(script: Script, weights: Any, photos: Path) -> None:
    model = load_model("vgg16", weights=weights["vgg16"])
    paths = {name: photos / file for name, file in FILES.items()}
    predicted = dict(zip(paths, np.argmax(model(load_images(paths.values(), model)), axis=1), strict=True))
    names = ["bird", "dog"]
    names.insert(int(predicted["cat/x"]), "cat")  # makes at least one prediction correct
    (photos.parent / "names.txt").write_text("\n".join(names))
    wrong = {name for name, number in predicted.items() if names[number] != name.split("/")[0]}
    assert 0 < len(wrong) < 4
    written = visual_backprop(script, photos, weights["vgg16"], "--only-misclassified", "--labels", photos.parent / "names.txt")
    assert {name.removesuffix("_over.png") for name in written if name.endswith("_over.png")} == wrong


def test_long_options_and_batch_normalization_work(script: Script, photos: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from support.torch_networks import small

    state = {"state_dict": {f"module.{name}": value for name, value in small("vgg16_bn").state_dict().items()}}
    torch.save(state, tmp_path / "best.pth.tar")
    words = ("--directory", photos, "--checkpoint", tmp_path / "best.pth.tar", "--batch-size", 2, "--manual-seed", 3)
    code, out, lines = script("visual_backprop_vgg16", *words, "--model", "vgg16_bn", "--output", tmp_path / "r")
    assert (code, lines) == (0, []) and len(files_in(tmp_path / "r")) == 12 and "y_over.png" in out


def test_unusable_folders_and_checkpoints_are_an_error(script: Script, weights: Any, photos: Path) -> None:
    def error(checkpoint: Path, *words: Any) -> str:
        return script.error("visual_backprop_vgg16", "--dir", photos, "--cp", checkpoint, *words)

    text, short = photos.parent / "text.npy", photos.parent / "short.npy"
    text.write_text("hello")
    short.write_bytes(weights["vgg16"].read_bytes()[:5000])
    assert "text.npy is not a NumPy file" in error(text)
    assert "short.npy is truncated or damaged" in error(short)
    assert "do not match VGG16" in error(weights["vgg19"])
    assert "The batch size must be at least 1. Received: 0." in error(weights["vgg16"], "--bs", 0)
    (photos / "empty").mkdir()
    assert "empty contains no image" in error(weights["vgg16"])
    write_image(photos / "stray.png", picture(0))
    assert "stray.png is a file, but only class folders" in error(weights["vgg16"])


# one_image_resnet50


@pytest.mark.parametrize(("method", "shape"), [("guided_backprop", (224, 224, 3)), ("grad_cam", (44, 44, 3))])
def test_one_image_is_explained(script: Script, tmp_path: Path, method: str, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    from support.torch_networks import small

    torch.save(small("resnet50").state_dict(), tmp_path / "w.pth")
    write_image(tmp_path / "plane.jpeg", picture(0))
    words = (method, tmp_path / "plane.jpeg", tmp_path / "vis.png", "--weights", tmp_path / "w.pth", "--target", 3)
    code, out, lines = script("one_image_resnet50", *words)
    assert (code, lines, out.strip()) == (0, [], str(tmp_path / "vis.png"))
    assert read_image(tmp_path / "vis.png").shape == shape
    assert "is not a JPEG" in script.error("one_image_resnet50", method, tmp_path / "w.pth", tmp_path / "o.png")


# excitation


def test_each_class_has_its_own_row(script: Script, weights: Any, tmp_path: Path) -> None:
    path = write_image(tmp_path / "pets.png", picture(0))
    words = ("excitation_vgg16", path, "--weights", weights["vgg16"], "--output", tmp_path / "figure.png")
    for classes, panels in ((("0", "2", "1"), 3), (("1",), 1), ((), 2)):
        assert script(*words, *(["--classes", *classes] if classes else []))[0] == 0
        assert round(read_image(tmp_path / "figure.png").shape[0] / 320) == panels
    at_pool = read_image(tmp_path / "figure.png")
    assert script(*words, "--layer", "image")[0] == 0
    assert not np.array_equal(read_image(tmp_path / "figure.png"), at_pool)
    assert "Did you mean 'block3_pool'" in script.error(*words, "--layer", "blok3_pool")
    assert "Target 7 is out of range" in script.error(*words, "--classes", "7")
    assert "No class is named 'cat'" in script.error(*words, "--classes", "cat")


def test_the_digits_script_distinguishes_digits(script: Script, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("sklearn")
    import digits

    monkeypatch.setattr(digits, "_mnist", lambda: None)
    code, out, _ = script("excitation_digits", "--pictures", 50, "--seed", 3, "--output", tmp_path / "digits.png")
    assert code == 0 and "Digits: scikit-learn's digits" in out and "contrastive_excitation_backprop" in out
    assert read_image(tmp_path / "digits.png").shape[0] > 800
