"""scripts/train_shapes with few scenes: every network learns, and its file opens anywhere."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tfviz.models import load_model, preprocessing_of
from tfviz.shapes import KINDS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_shapes"
QUICK = ("--scenes", "64", "--test-scenes", "16", "--epochs", "3")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    loader = importlib.machinery.SourceFileLoader("train_shapes", str(SCRIPT))
    spec = importlib.util.spec_from_loader("train_shapes", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_shapes", module)  # for dataclasses
    loader.exec_module(module)
    return module


def run(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train_shapes", *words])
    script.main()


@pytest.mark.parametrize("architecture", ["cnn", "silu", "vit"])
def test_a_network_learns_and_is_saved_with_its_specification(
    architecture: str,
    script: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "network.keras"
    run(script, monkeypatch, "--architecture", architecture, "--output", str(file), *QUICK)
    losses = [float(loss) for loss in re.findall(r"loss: ([\d.]+)\n", capsys.readouterr().out)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    model = load_model(file, preprocessing=file.with_suffix(".json"), labels=file.with_suffix(".json"))
    assert model.input_shape == (None, 96, 96, 3) and model.output_shape == (None, len(KINDS))
    assert model.count_params() < 400_000
    spec = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert spec["training"].startswith("3 epochs of 64 scenes each") and {"accuracy", "one_blank_cell"} <= set(spec)


def test_a_round_draws_new_scenes_and_learns_at_half_the_rate(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seeds, rates = [], []
    draw, optimizer = script.draw_scenes, script.optimizer
    monkeypatch.setattr(script, "draw_scenes", lambda count, seed: seeds.append(seed) or draw(count, seed))
    monkeypatch.setattr(script, "optimizer", lambda recipe, steps, rate: rates.append(rate) or optimizer(recipe, steps, rate))
    words = ("--scenes", "32", "--test-scenes", "8", "--epochs", "1", "1")
    run(script, monkeypatch, *words, "--output", str(tmp_path / "network.keras"))
    assert len(set(seeds)) == 3  # two rounds and the test
    assert rates == [script.RECIPES["cnn"].learning_rate, script.RECIPES["cnn"].learning_rate / 2]


def test_only_the_packaged_network_has_a_place_of_its_own(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(script, monkeypatch, "--architecture", "vit")
    assert "Only cnn is packaged. Pass --output to save another network." in capsys.readouterr().err


def test_half_of_the_images_stay_whole(script: types.ModuleType) -> None:
    counts = np.array(script.BLANK_CELLS)
    assert (counts == 0).mean() == 0.5 and counts.max() == 2


def test_as_many_cells_as_requested_are_blank_and_the_rest_is_unchanged(script: types.ModuleType) -> None:
    pictures = np.random.default_rng(1).integers(0, 100, (4, 96, 96, 3), dtype=np.uint8)
    blanked = script.with_blank_cells(pictures, np.arange(4), np.random.default_rng(2))
    is_blank = (blanked == script.MEAN_COLOR).all(axis=-1)
    cells = is_blank.reshape(4, 4, 24, 4, 24).mean(axis=(2, 4))
    assert set(cells.ravel()) == {0, 1} and cells.sum(axis=(1, 2)).tolist() == [0, 1, 2, 3]
    assert np.array_equal(blanked[~is_blank], pictures[~is_blank])


def test_a_blank_cell_has_the_mean_color_that_the_packaged_network_takes(script: types.ModuleType) -> None:
    preprocessing = preprocessing_of(load_model("shapes"))
    assert preprocessing.mean is None, "preprocessing that subtracts a mean has the mean color at 0"
    color = np.array(script.MEAN_COLOR, np.uint8)[None, None]
    np.testing.assert_allclose(script.model_input(color), preprocessing.numbers(color.astype(np.float32)), atol=1e-6)
