"""Methods that run many perturbed copies of each image, from the command line."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from support.cli_material import network, save_network, save_pictures

import tfviz
from tfviz.cli.background import Background
from tfviz.cli.main import main
from tfviz.methods.prepared_call import PreparedCall

BACKGROUNDS = [f"{name}.png" for name in "abcdefghij"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "net.keras")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("photos"), BACKGROUNDS)


def explain(model_file: Path, photos: Path, output: Path, *options: str) -> int:
    return main(["explain", str(photos / "a.png"), "--model", str(model_file), "--output", str(output), *options])


def test_all_leaves_out_what_takes_longest_and_says_so(
    model_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(model_file, photos, tmp_path, "--method", "all") == 0
    said = capsys.readouterr().err
    assert "Skipped rise: This method needs 4000 forward passes per image" in said and "--method all,rise" in said
    assert "Skipped expected_gradients: This method compares the image with typical images" in said
    assert (
        "integrated_gradients 32, smooth_grad 25, square_grad 25, var_grad 25, score_cam 8, ablation_cam 8, occlusion" in said
    )
    assert {"occlusion.png", "integrated_gradients.png"} <= {file.name for file in (tmp_path / "a").iterdir()}


def test_all_with_a_slow_method_runs_it_too(
    model_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(model_file, photos, tmp_path, "--method", "all,rise", "--backgrounds", str(photos)) == 0
    assert "rise 4000." in capsys.readouterr().err
    assert {"rise.png", "expected_gradients.png"} <= {file.name for file in (tmp_path / "a").iterdir()}


def test_backgrounds_are_read_as_the_network_reads_images(model_file: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--method", "expected_gradients", "--backgrounds", str(photos), "--raw", "--preprocess", "none")
    assert explain(model_file, photos, tmp_path, *options) == 0
    model = tfviz.load_model(model_file, preprocessing="none")
    images = np.asarray(tfviz.load_images(photos, model))
    wanted = tfviz.ExpectedGradients(model, images)(images[:1])[0].numpy()
    got = np.load(tmp_path / "a" / "expected_gradients.npy")
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--method", "expected_gradients"),
            "expected_gradients: This method compares the image with typical images. .*--backgrounds PATH",
        ),
        (
            ("--method", "rise", "--backgrounds", "{photos}"),
            "None of the chosen methods accepts backgrounds. .*expected_gradients",
        ),
        (("--method", "expected_gradients", "--backgrounds", "{photos}/a.png"), "at least 8 background images"),
    ],
)
def test_unsuitable_backgrounds_are_an_error(
    options: tuple[str, ...],
    message: str,
    model_file: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explain(model_file, photos, tmp_path / "out", *(one.format(photos=photos) for one in options)) == 2
    assert re.search(message, capsys.readouterr().err)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_line_counts_perturbed_copies(
    model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    assert explain(model_file, photos, tmp_path, "--method", "rise", "--batch-size", "2") == 0
    counts = [int(part.split()[0]) for part in terminal.getvalue().split("rise, ")[1:] if "of 4000 perturbed copies" in part]
    assert counts == sorted(counts) and any(0 < count < 4000 for count in counts)


def test_the_batch_size_bounds_the_copies(
    model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    original = PreparedCall.run_in_batches

    def recorded(call: PreparedCall, batch_size: int, advance: Callable[[int], None]) -> tf.Tensor:
        return original(call, batch_size, lambda rows: (found.append(rows), advance(rows)))

    monkeypatch.setattr(PreparedCall, "run_in_batches", recorded)
    assert explain(model_file, photos, tmp_path, "--method", "occlusion,smooth_grad", "--batch-size", "5") == 0
    assert max(found) == 5 and sum(found) == 25 + 100


def test_an_interrupt_stops_after_the_current_batch() -> None:
    explainer = tfviz.RISE(network(), samples=100_000)
    images = np.zeros((1, 32, 32, 3), np.float32)
    first, second = explainer.prepare(images, 0), explainer.prepare(images, 1)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Background(batch_size=4) as background:
        running, waiting = background.start(first), background.start(second)
        while not running.rows:
            time.sleep(0.01)
        done = running.rows
        raise KeyboardInterrupt
    assert 0 < done <= running.rows < 50_000 and not waiting.rows and waiting.future.cancelled()
    assert time.monotonic() - started < 60


def test_an_explainer_with_backgrounds_is_exported(model_file: Path, photos: Path, tmp_path: Path) -> None:
    argv = ["export", "--model", str(model_file), "--method", "expected_gradients", "--backgrounds", str(photos)]
    assert main([*argv, "--preprocess", "none", "--output", str(tmp_path / "x")]) == 0
    assert tfviz.load_explainer(tmp_path / "x").manifest.method == "expected_gradients"
