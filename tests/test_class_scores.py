"""Class scores: which outputs name classes, one sigmoid unit as two classes, and the order of equal
scores.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import tfviz
from tfviz.class_scores import Classifier, is_classifier, predictions, ranked_classes
from tfviz.cli.targets import ClassTargets
from tfviz.errors import ImageError
from tfviz.models.labels import Labels
from tfviz.reading.reader import graph_of


def network(units: int, activation: str | None) -> keras.Model:
    return keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(units, activation)])


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 6, 6, 3)).astype(np.float32)


def test_a_sigmoid_unit_is_two_classes() -> None:
    model = network(1, "sigmoid")
    p = np.asarray(model(images()))
    classifier = Classifier(model)
    assert classifier.classes == 2
    np.testing.assert_allclose(classifier.scores(images()).values, np.hstack([1 - p, p]), atol=1e-6)
    expected = [(int(one > 0.5), float(max(one, 1 - one))) for one in p[:, 0]]
    assert [one for one, _ in predictions(p, graph_of(model))] == [number for number, _ in expected]
    np.testing.assert_allclose([score for _, score in predictions(p, graph_of(model))], [s for _, s in expected], rtol=1e-6)


def test_a_single_unit_without_a_sigmoid_names_no_class() -> None:
    model = network(1, None)
    assert Classifier(model).classes == 1
    assert predictions(np.asarray(model(images())), graph_of(model)) == [None] * 3


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_top_class_has_the_largest_output(activation: str | None) -> None:
    model = network(4, activation)
    outputs = np.asarray(model(images()))
    assert is_classifier(graph_of(model))
    assert predictions(outputs, graph_of(model)) == [(int(row.argmax()), float(row.max())) for row in outputs]
    np.testing.assert_allclose(Classifier(model).scores(images()).values, outputs, atol=1e-6)


def test_scores_that_are_not_finite_name_no_class() -> None:
    outputs = np.array([[0.2, np.nan], [0.2, 0.8]], np.float32)
    assert predictions(outputs, graph_of(network(2, "softmax"))) == [None, (1, pytest.approx(0.8))]


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    assert ranked_classes(np.array([[0.1, 0.4, 0.1, 0.4]])).tolist() == [[1, 3, 0, 2]]


@pytest.mark.parametrize(("units", "activation"), [(4, "sigmoid"), (4, "softmax"), (1, "sigmoid")])
def test_the_logits_rank_classes_of_equal_probability(units: int, activation: str) -> None:
    model = network(units, activation)
    kernel = np.zeros((108, units), np.float32)
    bias = np.array([60, 80, 300, 70] if activation == "sigmoid" else [-300, -200, 0, -250], np.float32)[-units:]
    model.layers[-1].set_weights([kernel, bias])
    scores = Classifier(model).scores(images(2))
    tied = [1, 0] if units == 1 else [2, 1, 3, 0]
    assert scores.ranked.tolist() == [tied, tied] and len(scores[1].values) == max(units, 2)
    np.testing.assert_array_equal(scores.ranked[:, 0], tfviz.Saliency(model).with_outputs(images(2)).target)
    labels = Labels(tuple(f"class {i}" for i in range(len(tied))))
    top, second = ClassTargets(["top2"], labels, len(tied)).columns(scores)
    assert [top.tolist(), second.tolist()] == [[tied[0]] * 2, [tied[1]] * 2]


def test_logits_of_the_same_pass_rank_classes_without_another(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(4, "softmax")
    model.layers[-1].set_weights([np.zeros((108, 4), np.float32), np.array([-300, -200, 0, -250], np.float32)])
    classifier, explainer = Classifier(model), tfviz.Saliency(model)
    monkeypatch.setattr("tfviz.class_scores._logits_of", lambda model: pytest.fail("a second pass"))
    explanation, logits = explainer.prepare_with_outputs(images(2)).run()
    assert classifier.scores_from(explanation.outputs, images(2), logits).ranked.tolist() == [[2, 1, 3, 0]] * 2


def test_a_map_of_classes_names_none() -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, activation="softmax")])
    assert not is_classifier(graph_of(model))
    assert Classifier(model).scores(images()) is None
    assert predictions(np.asarray(model(images())), graph_of(model)) == [None] * 3


def test_an_image_of_another_size_is_an_image_error() -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 9), layers.GlobalAveragePooling2D()])
    with pytest.raises(tfviz.TfvizError, match="The model does not support images of 6x6 pixels") as caught:
        Classifier(model).scores(images())
    assert isinstance(caught.value, ImageError)
