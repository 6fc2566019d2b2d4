"""`tfviz methods` and `tfviz layers`."""

from __future__ import annotations

import re

import keras
import pytest
from support import transformers

import tfviz
from tfviz.cli.main import main
from tfviz.methods import METHODS


def test_methods_lists_every_method_with_its_question(capsys):
    assert main(["methods"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["method", "question", "it", "answers", "layer", "target"]
    assert [line.split()[0] for line in lines] == list(METHODS)
    assert all(METHODS[line.split()[0]].question in line for line in lines)
    ends = {line.split()[0]: line.split("?")[1].split("  ") for line in lines}
    assert [word.strip() for word in ends["grad_cam"] if word] == ["--layer, default: automatic", "--target"]
    assert [word.strip() for word in ends["excitation_backprop"] if word] == ["--layer, default: the image", "--target"]
    assert [word.strip() for word in ends["visual_backprop"] if word] == ["none", "none"]


@pytest.fixture
def nested(tmp_path):
    """Save a model with a nested backbone, as in transfer learning."""
    image = keras.Input((24, 16, 3))
    x = keras.layers.Conv2D(5, 3, padding="same", name="conv1")(image)
    backbone = keras.Model(image, keras.layers.ReLU(name="relu1")(x), name="backbone")
    inputs = keras.Input((24, 16, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="classes")(x))
    model.save(tmp_path / "nested.keras")
    return tmp_path / "nested.keras"


def test_layers_lists_every_layer_and_marks_the_default(nested, capsys):
    assert main(["layers", "--model", str(nested)]) == 0
    *table, _, remark = capsys.readouterr().out.splitlines()
    rows = {line[3:].split()[1]: line for line in table[1:]}
    assert rows["backbone/conv1"].split() == ["conv1", "backbone/conv1", "24", "×", "16", "×", "5", "Conv2D"]
    assert rows["classes"].split() == ["classes", "classes", "2", "Dense"]
    marked = [path for path, line in rows.items() if line.startswith("*")]
    assert marked == [tfviz.GradCAM(tfviz.load_model(nested)).layer_path] == ["backbone/relu1"]
    assert remark == "* Class activation maps use 'backbone/relu1' unless you pass another --layer."


def test_layers_shows_the_grid_of_each_token_map(tmp_path, capsys):
    image = keras.Input(transformers.SIZE)
    x = transformers.patches(image)
    token = keras.layers.Dense(12, name="class_token")(keras.ops.ones_like(x[:, :1]))
    x = transformers.encoder(keras.layers.Concatenate(axis=1, name="joined")([token, x]), blocks=1)
    x = keras.layers.Flatten(name="flat")(x[:, :1])
    keras.Model(image, keras.layers.Dense(4, name="out")(x)).save(tmp_path / "vit.keras")
    assert main(["layers", "--model", str(tmp_path / "vit.keras")]) == 0
    rows = [re.split(r"\s{2,}", line[3:]) for line in capsys.readouterr().out.splitlines()]
    shapes = {row[0]: row[2] for row in rows if len(row) == 4}
    assert shapes["patches"] == "3 × 4 × 12"
    assert shapes["tokens"] == "12 × 12 (3 × 4 patches)"
    for name in ("joined", "norm_0a", "attention_0", "norm_0b", "sum_0", "norm"):
        assert shapes[name].endswith(" × 12 (3 × 4 patches + 1)")
    assert "patches" not in shapes["flat"] + shapes["out"] + shapes["class_token"]


def test_layers_needs_no_weights(capsys):
    assert main(["layers", "--model", "mobilenet"]) == 0
    marked = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("*  ")]
    assert marked == [["*", "conv_pw_13_relu", "conv_pw_13_relu", "7", "×", "7", "×", "1024", "ReLU"]]


def test_layers_shows_the_classes_of_the_weights_file(tmp_path, capsys):
    path = tmp_path / "ten.weights.h5"
    keras.applications.MobileNet(weights=None, classes=10).save_weights(path)
    assert main(["layers", "--model", "mobilenet", "--weights", str(path)]) == 0
    assert "1 × 1 × 10 " in capsys.readouterr().out


def test_a_model_without_feature_maps_has_no_default_layer(tmp_path, capsys):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    assert main(["layers", "--model", str(tmp_path / "dense.keras")]) == 0
    assert "This model has no default layer: tfviz cannot choose a layer" in capsys.readouterr().out


def test_an_unknown_model_is_a_usage_error(capsys):
    assert main(["layers", "--model", "resnet5"]) == 2
    assert capsys.readouterr().err.startswith("tfviz layers: error: 'resnet5' is neither the name of a network nor a file")
