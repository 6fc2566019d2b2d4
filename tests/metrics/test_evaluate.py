"""`tfviz.evaluate`: laws, the effect of each parameter, and bad input."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.classifiers import CLASSES, classifier
from support.purity import assert_untouched, regularized, snapshot

import tfviz
from tfviz.errors import ImageError, OptionError, TargetError, UnknownMethodError, UnsupportedModelError
from tfviz.metrics.forward_passes import ForwardPasses
from tfviz.metrics.image_scores import ImageScorer
from tfviz.metrics.imputation import imputed
from tfviz.metrics.pointing_game import PointingGame
from tfviz.metrics.regions import Regions
from tfviz.metrics.road import Road

COUNT = 7
COLOR = [0.1, 0.2, 0.3]
FAST = ["single_deletion", "deletion_insertion"]
FAITHFUL = [key for key, metric in tfviz.METRICS.items() if not metric.needs_regions]
MEASURES = {measure.key for metric in tfviz.METRICS.values() for measure in metric.measures}
CORRELATIONS = {"single_deletion", "mu_fidelity"}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return classifier()


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model, COUNT)


BOXES = [Regions({i % CLASSES: [[2, 3, 20, 22]], (i + 1) % CLASSES: [[25, 3, 34, 12]]}, (30, 35)) for i in range(COUNT)]


def evaluate(model: keras.Model, images: Any, *args: Any, **options: Any) -> tfviz.Evaluation:
    return tfviz.evaluate(model, images, *args, **({"mean_color": COLOR} | options))


def values(evaluation: tfviz.Evaluation, method: str) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in evaluation.rows if row["method"] == method}


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [1.0, 0.0, np.nan, np.inf])
def test_a_blank_map_scores_as_the_random_control_and_hits_nothing(model, images, fill: float) -> None:
    def blank(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        maps = np.random.default_rng(0).normal(size=images.shape[:3]) if np.isnan(fill) else np.full(images.shape[:3], fill)
        maps[:, 2, 3] = fill
        return maps

    found = evaluate(model, images[:2], {"blank": blank}, "all", BOXES[:2])
    assert all(score["blank"] for score in found.scores if score["method"] == "blank")
    blanks, randoms = values(found, "blank"), values(found, "random")
    assert set(blanks) == MEASURES
    for key, value in blanks.items():
        is_zero = key in CORRELATIONS or "pointing" in key or "mass" in key
        assert value == (0 if is_zero else randoms[key]), key


def test_the_batch_size_does_not_change_the_result(model, images) -> None:
    methods = ["saliency", "grad_cam", "visual_backprop"]
    first, *others = (evaluate(model, images[:3], methods, "all", BOXES[:3], batch_size=size) for size in (1, 3, 32))
    for other in others:
        for mine, yours in zip(first.scores, other.scores, strict=True):
            # a pixel that nearly ties with another may change its place
            assert mine["value"] == pytest.approx(yours["value"], abs=2e-4), mine


def test_no_more_rows_run_at_once_than_the_batch_size(model, images, monkeypatch) -> None:
    sizes: list[int] = []

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            sizes.append(len(next(x for x in arguments if isinstance(x, np.ndarray))))
            return function(*arguments)

        return call

    monkeypatch.setattr(ForwardPasses, "_run", noted(ForwardPasses._run))
    monkeypatch.setattr("tfviz.metrics.road.imputed", noted(imputed))
    maps = noted(lambda images, classes: images.sum(-1))
    evaluate(model, images, {"maps": maps}, "all", BOXES, batch_size=5)
    assert max(sizes) == 5


def test_the_model_is_traced_once(images) -> None:
    traces = []

    class Counted(layers.Layer):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            traces.append(1)
            return x * 1

    model = keras.Sequential([keras.Input((13, 17, 3)), Counted(), layers.Flatten(), layers.Dense(3)])
    scorer = ImageScorer(model, {"maps": lambda images, classes: images.sum(-1)}, FAST, mean_color=0)
    list(scorer.score_images(images[:1]))
    before = len(traces)
    list(scorer.score_images(images[1:]))
    assert len(traces) == before


@pytest.mark.parametrize("build", [classifier, regularized])
def test_the_model_is_untouched(build: Callable[[], keras.Model]) -> None:
    model = build()
    before, images = snapshot(model), networks.pictures(model)
    evaluate(model, images, "all", ["single_deletion", "max_sensitivity"], [{0: [[0, 0, 4, 4]]}] * 2)
    assert_untouched(model, before)


@pytest.mark.parametrize("where", ["method", "model"])
def test_the_model_is_untouched_after_an_exception(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> np.ndarray:
        raise KeyError("broken")

    model = regularized()
    before, images = snapshot(model), networks.pictures(model)
    if where == "model":
        monkeypatch.setattr("tfviz.metrics.forward_passes.tf.nn.softmax", failing)
    with pytest.raises(KeyError, match="broken"):
        evaluate(model, images, ["grad_cam", failing], FAST)
    assert_untouched(model, before)


def test_a_faithful_map_beats_the_random_control_and_its_opposite_loses() -> None:
    """The score is the brightness of one corner, and the map says so."""
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2)])
    kernel = np.zeros((16, 16, 3, 2))
    kernel[:4, :4, :, 0] = 0.2
    model.layers[-1].set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    truth = kernel[..., 0].sum(-1)
    images = np.random.default_rng(0).uniform(0, 0.2, (8, 16, 16, 3)).astype("float32")
    images[:, :4, :4] += 0.7
    methods = {
        "truth": lambda images, classes: np.repeat(truth[None], len(images), 0),
        "opposite": lambda images, classes: np.repeat(-truth[None], len(images), 0),
    }
    found = tfviz.evaluate(model, images, methods, ["single_deletion", "deletion_insertion", "road"], mean_color=0)
    for row in found.rows:
        if not row["is_control"]:
            assert row["decides"] == (row["method"] == "truth"), row
    assert values(found, "truth")["single_deletion"] > 0.5 > 0 > values(found, "opposite")["single_deletion"]


def test_a_resumed_evaluation_equals_an_uninterrupted_one(model, images) -> None:
    def scorer() -> ImageScorer:
        return ImageScorer(model, ["saliency", "grad_cam"], "all", has_regions=True, mean_color=COLOR, batch_size=3)

    few, boxes = images[:4], BOXES[:4]
    whole = list(scorer().score_images(few, boxes))
    first = [rows for _, rows in zip(range(2), scorer().score_images(few, boxes))]  # noqa: B905 - killed after two
    stored = json.loads(json.dumps(first))
    rest = list(scorer().score_images(few, boxes, done={rows[0]["image"] for rows in stored}))
    assert [rows[0]["image"] for rows in rest] == [2, 3]
    one, two = (tfviz.Evaluation.of([row for rows in many for row in rows]) for many in (whole, [*stored, *rest]))
    for mine, yours in zip(one.rows, two.rows, strict=True):
        assert mine["value"] == pytest.approx(yours["value"], abs=2e-4)
        assert {**mine, "value": 0, "low": 0, "high": 0} == {**yours, "value": 0, "low": 0, "high": 0}


# --- probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_the_probability_is_that_of_the_model(activation: str | None, images) -> None:
    model = classifier(activation)
    (start,) = {round(score["curve"][0][1], 5) for score in one_deletion(model, images)}
    outputs = model(images[:1]).numpy()[0]
    p = outputs if activation else np.exp(outputs) / np.exp(outputs).sum()
    assert start == pytest.approx(p.max(), abs=1e-4)


def test_one_sigmoid_unit_has_two_classes(images) -> None:
    model = classifier("sigmoid", units=1)
    p = float(model(images[:1])[0, 0])
    for target, expected in ((0, 1 - p), (1, p)):
        (start,) = {round(score["curve"][0][1], 5) for score in one_deletion(model, images, targets=target)}
        assert start == pytest.approx(expected, abs=1e-4)


def one_deletion(model: keras.Model, images: np.ndarray, **options: Any) -> list[dict[str, Any]]:
    found = evaluate(model, images[:1], "saliency", "deletion_insertion", **options)
    return [score for score in found.scores if score["metric"] == "deletion"]


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("methods", "saliency", "guided_backprop"),
        ("targets", 0, 1),
        ("targets", [0] * COUNT, [1] * COUNT),
        ("reduce", "sum", "abs_max"),
        ("mean_color", 0, 1),
        ("mean_color", [0, 0, 0], [0, 0, 1]),
    ],
)
def test_a_parameter_changes_the_scores(model, images, name: str, one: Any, other: Any) -> None:
    found = [evaluate(model, images, **({"methods": "saliency", "metrics": FAST} | {name: value})) for value in (one, other)]
    assert found[0].scores[0]["value"] != found[1].scores[0]["value"]


def test_the_seed_changes_the_random_control(model, images) -> None:
    found = [values(evaluate(model, images, "saliency", FAST, seed=seed), "random")["deletion"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("single_deletion", {"grid": 3}),
        ("deletion_insertion", {"steps": 5}),
        ("road", {"fractions": (0.2, 0.4)}),
        ("road", {"noise": 1.0}),
        ("pointing_game", {"tolerance": 40}),
        ("mu_fidelity", {"grid": 5}),
        ("mu_fidelity", {"share": 0.5}),
        ("mu_fidelity", {"subsets": 30}),
        ("max_sensitivity", {"radius": 0.2}),
        ("max_sensitivity", {"draws": 1}),
    ],
)
def test_an_option_of_a_metric_changes_its_scores(model, images, key: str, options: dict[str, Any]) -> None:
    cls = tfviz.METRICS[key]
    scores = [
        [score["value"] for score in evaluate(model, images, "saliency", metric, BOXES).scores]
        for metric in (cls(), cls(**options))
    ]
    assert scores[0] != scores[1]


def test_controls_can_be_left_out(model, images) -> None:
    found = evaluate(model, images, "saliency", "all", BOXES, controls=False)
    assert {row["method"] for row in found.rows} == {"saliency"}
    assert {row["decides"] for row in found.rows} == {None}


def test_metrics_have_controls_of_their_own(model, images) -> None:
    found = evaluate(model, images[:2], "saliency", "all", BOXES[:2])
    assert set(values(found, "fake_cam")) == {"average_drop", "average_increase", "average_gain"}
    assert set(values(found, "area")) == {"mass_in_region", "mass_on_other"}
    share = np.mean([BOXES[i].mask(c).mean() for i in range(2) for c in BOXES[i].classes])
    assert values(found, "area")["mass_in_region"] == pytest.approx(share)


def test_the_output_can_be_chosen(images) -> None:
    inputs = keras.Input((13, 17, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = networks.with_random_weights(keras.Model(inputs, [layers.Dense(3, name="a")(x), layers.Dense(5, name="b")(x)]), 0)
    found = [evaluate(model, images[:2], "grad_cam", FAST, output=output).scores[0]["value"] for output in ("a", "b")]
    assert found[0] != found[1]
    with pytest.raises(UnsupportedModelError, match="has 2 outputs"):
        evaluate(model, images[:2], "grad_cam", FAST)


def test_default_metrics_need_boxes_only_where_they_are_given(model, images) -> None:
    assert {row["metric"] for row in evaluate(model, images[:2], "grad_cam").rows} == {
        "single_deletion", "deletion", "insertion", "insertion_minus_deletion", "road"
    }  # fmt: skip
    found = {row["metric"] for row in evaluate(model, images[:2], "grad_cam", boxes=BOXES[:2]).rows}
    assert {"pointing_game", "pointing_game_pairs", "mass_in_region", "mass_on_other"} <= found
    assert not found & {"mu_fidelity", "max_sensitivity", "average_drop"}


def test_the_top_class_of_the_image_is_the_default_target(model, images) -> None:
    found = evaluate(model, images, "saliency", "single_deletion", controls=False)
    assert [score["target"] for score in found.scores] == model(images).numpy().argmax(-1).tolist()


def test_metrics_of_regions_explain_every_class_that_has_one(model, images) -> None:
    found = evaluate(model, images, "saliency", "pointing_game", BOXES, controls=False)
    pairs = [(s["image"], s["target"]) for s in found.scores if s["metric"] == "pointing_game"]
    assert pairs == [(i, c) for i, regions in enumerate(BOXES) for c in regions.classes]


def test_a_dict_holds_boxes_in_pixels_of_the_images(model, images) -> None:
    boxes = [{0: [[0, 0, 9, 13]]}, {1: [[3, 0, 17, 13]]}]
    stated = [Regions(classes, (13, 17)) for classes in boxes]
    found = [evaluate(model, images[:2], "grad_cam", "pointing_game", some).scores for some in (boxes, stated)]
    assert found[0] == found[1]


def test_an_image_without_annotations_counts_in_no_metric_of_regions(model, images) -> None:
    found = evaluate(model, images[:3], "grad_cam", "default", [BOXES[0], None, Regions({}, (30, 35))])
    counts = {row["metric"]: row["n"] for row in found.rows}
    assert counts["pointing_game"] == 1
    assert counts["pointing_game_pairs"] == 2
    assert counts["single_deletion"] == 3


def test_regions_are_cropped_as_the_images_are(tmp_path) -> None:
    preprocessing = tfviz.Preprocessing((16, 16), resize="short side 20, center crop 16", formula="x/255")
    classifier(size=(16, 16)).save(tmp_path / "model.keras")
    model = tfviz.load_model(tmp_path / "model.keras", preprocessing=preprocessing)
    mask = np.zeros((40, 40), bool)
    mask[4:36, 4:36] = True  # what the crop keeps
    images = np.random.default_rng(0).random((1, 16, 16, 3), "float32")
    found = tfviz.evaluate(model, images, "grad_cam", "mass_in_region", [Regions({0: mask}, (40, 40))])
    assert values(found, "area")["mass_in_region"] == 1


# --- methods --------------------------------------------------------------------------------------


def test_all_methods_run_and_those_that_do_not_fit_are_noted(images) -> None:
    model = keras.Sequential([keras.Input((13, 17, 3)), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3)])
    networks.with_random_weights(model, 0)
    found = evaluate(model, images[:2], "all", FAST)
    left_out = {"grad_cam", "layer_cam", "eigen_cam"}
    assert not left_out & {row["method"] for row in found.rows}
    assert "saliency" in {row["method"] for row in found.rows}
    for key in left_out:
        assert any(note.startswith(f"{key} was skipped: ") for note in found.notes)
    assert "was skipped" in found.to_markdown()
    with pytest.raises(UnsupportedModelError):
        evaluate(model, images[:2], "grad_cam", FAST)


def test_explainers_functions_and_names_can_be_mixed(model, images) -> None:
    def brightness(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return images

    methods = ["saliency", tfviz.GradCAM(model, "conv"), tfviz.GradCAM(model, "top"), brightness]
    found = evaluate(model, images[:2], methods, FAST, controls=False)
    assert {(row["method"], row["layer"]) for row in found.rows} == {
        ("saliency", None), ("grad_cam", "conv"), ("grad_cam", "top"), ("brightness", None)
    }  # fmt: skip
    assert set(found.curves["deletion"]) == {"saliency", "grad_cam (conv)", "grad_cam (top)", "brightness"}
    named = evaluate(model, images[:2], {"mine": tfviz.Saliency(model), "also": "saliency"}, FAST, controls=False)
    assert values(named, "mine") == values(named, "also") == values(found, "saliency")


def test_methods_without_a_target_are_evaluated_for_the_class_of_the_image(model, images) -> None:
    found = evaluate(model, images[:2], "visual_backprop", "all", BOXES[:2], targets=2, controls=False)
    assert {score["target"] for score in found.scores if score["metric"] == "deletion"} == {2}
    assert {row["metric"] for row in found.rows} <= MEASURES


def test_channels_of_excitation_are_summed(model, images) -> None:
    methods = {str(is_sum): tfviz.ExcitationBackprop(model, "conv", sum_channels=is_sum) for is_sum in (True, False)}
    found = evaluate(model, images[:2], methods, FAST)
    assert values(found, "True") == pytest.approx(values(found, "False"), abs=1e-5)


# --- results --------------------------------------------------------------------------------------


def test_rows_and_scores_have_the_promised_keys(model, images) -> None:
    found = evaluate(model, images, "grad_cam", "default", BOXES)
    keys = {"method", "layer", "metric", "value", "low", "high", "n", "blank", "decides", "forwards", "higher_is_better"}
    assert all(keys <= set(row) for row in found.rows)
    assert all({"method", "layer", "metric", "image", "target", "value", "blank"} <= set(score) for score in found.scores)
    forwards = {row["metric"]: row["forwards"] for row in found.rows if row["method"] == "grad_cam"}
    assert forwards == {
        "single_deletion": 16, "deletion": 28, "insertion": 28, "insertion_minus_deletion": 56, "road": 18,
        "pointing_game": 0, "pointing_game_pairs": 0, "pointing_game_difficult": 0, "mass_in_region": 0, "mass_on_other": 0,
    }  # fmt: skip
    json.dumps([found.rows, found.scores])


def test_one_image_has_no_interval_and_decides_nothing(model, images) -> None:
    found = evaluate(model, images[:1], "grad_cam", FAST)
    assert all(np.isnan(row["low"]) and np.isnan(row["high"]) for row in found.rows)
    assert {row["decides"] for row in found.rows if not row["is_control"]} == {False}
    assert "nan" not in found.to_markdown()
    found.plot()


def test_the_tables_hold_every_row(model, images, tmp_path) -> None:
    found = evaluate(model, images, ["grad_cam", "saliency"], FAST)
    rows = list(csv.DictReader(io.StringIO(found.to_csv(tmp_path / "table.csv"))))
    assert (tmp_path / "table.csv").read_text() == found.to_csv()
    assert [float(row["value"]) for row in rows] == [row["value"] for row in found.rows]
    table = found.to_markdown()
    for name in ("grad_cam", "saliency", "*random*", "*center*", "*edges*", "*constant*"):
        assert f"| {name} |" in table
    assert table.count("†") == sum(row["decides"] is False for row in found.rows) + 1
    assert "deletion ↓" in table
    assert "insertion ↑" in table


def test_the_plot_has_a_panel_per_measure_and_per_curve(model, images) -> None:
    found = evaluate(model, images, ["grad_cam", "saliency"], [*FAST, "road"])
    figure = found.plot()
    assert figure._repr_png_()  # displayed in a notebook without a magic
    size = figure.get_size_inches().tolist()
    figure.suptitle("title")
    assert figure.get_size_inches().tolist() == size
    titles = [axes.get_title() for axes in figure.axes]
    assert [title.split(" ")[0] for title in titles] == [
        "single_deletion", "deletion", "insertion", "insertion_minus_deletion", "road", "deletion", "insertion", "road"
    ]  # fmt: skip


def test_the_curves_are_means_over_the_images(model, images) -> None:
    found = evaluate(model, images, "grad_cam", "deletion_insertion")
    curve = found.curves["deletion"]["grad_cam"]
    assert (curve[0, 0], curve[-1, 0]) == (0, 1)
    assert (curve[:, 1].sum() - curve[0, 1] / 2 - curve[-1, 1] / 2) / (len(curve) - 1) == pytest.approx(
        values(found, "grad_cam")["deletion"]
    )


@pytest.mark.parametrize(("scale", "offset", "color"), [(1, 0, "0.486"), (255, 0, "124"), (2, -1, "0, 0, 0")])
def test_unknown_preprocessing_is_told_from_the_images_and_noted(model, scale: float, offset: float, color: str) -> None:
    images = np.random.default_rng(0).random((2, 13, 17, 3), "float32") * scale + offset
    (note,) = tfviz.evaluate(model, images, "grad_cam", "single_deletion").notes
    assert "preprocessing is unknown" in note
    assert color in note


def test_datasets_are_evaluated_like_arrays(model, images) -> None:
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(2)
    one, two = (evaluate(model, some, "grad_cam", FAST, BOXES) for some in (images, dataset))
    assert [row["value"] for row in one.rows] == pytest.approx([row["value"] for row in two.rows], abs=1e-5)
    with pytest.raises(OptionError, match="Pass mean_color="):
        tfviz.evaluate(model, dataset, "grad_cam", FAST)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": "deletions"}, OptionError, "tfviz has no metric 'deletions'. "),
        ({"metrics": ["road", 3]}, OptionError, "tfviz has no metric 3"),
        ({"metrics": []}, OptionError, "at least one metric"),
        ({"metrics": "pointing_game"}, OptionError, "Received: no boxes"),
        ({"metrics": PointingGame()}, OptionError, "Received: no boxes"),
        ({"methods": "grad_camm"}, UnknownMethodError, "no method 'grad_camm'"),
        ({"methods": tfviz.GradCAM}, OptionError, r"Create the explainer first"),
        ({"methods": {"mine": 3}}, OptionError, r"'mine' must be a method key.*Received: 3"),
        ({"methods": []}, OptionError, "at least one method"),
        ({"methods": ["saliency", "saliency"]}, OptionError, "Two methods have the same name, 'saliency'"),
        ({"methods": {"random": "saliency"}}, OptionError, "Two methods have the same name, 'random'"),
        ({"methods": {"short": lambda images, classes: images[:1, :, :, 0]}}, OptionError, "1 maps for 7 images"),
        ({"methods": {"flat": lambda images, classes: images[:, 0, :, 0]}}, OptionError, r"'flat' cannot be evaluated"),
        ({"boxes": BOXES[:3]}, OptionError, "`boxes` must have one entry per image, 7 in total. Received: 3"),
        ({"boxes": [*BOXES, BOXES[0]]}, OptionError, "7 in total. Received: 8"),
        ({"boxes": [[0, 0, 3, 3]] * COUNT}, OptionError, "Received: list for image 0"),
        (
            {"boxes": [{0: [[0, 0, 40, 9]]}] * COUNT},
            OptionError,
            "image 0 are invalid. A box for class 0 extends beyond the ",
        ),
        ({"boxes": [{0: []}] * COUNT}, OptionError, "image 0 are invalid. Class 0 has no boxes"),
        ({"boxes": [{9: [[0, 0, 4, 9]]}] * COUNT}, OptionError, "contain class 9, but the model has 4 classes"),
        ({"targets": 4}, TargetError, "Target 4 is out of range"),
        ({"targets": [1, 2]}, OptionError, "`targets` must have one entry per image, 7 in total. Received: 2"),
        ({"targets": "top2"}, TargetError, "one class per image"),
        ({"targets": lambda outputs: outputs[:, 0]}, TargetError, "one class per image"),
        ({"targets": np.ones((COUNT, 4))}, TargetError, "one class per image"),
        ({"reduce": "mean"}, OptionError, "reduce='mean'"),
        ({"mean_color": [1, 2]}, OptionError, r"one per channel \(3\)"),
        ({"batch_size": 0}, OptionError, "`batch_size` must be a positive integer"),
    ],
)
def test_bad_input_is_reported(model, images, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate(model, images, **({"methods": "saliency", "metrics": "default"} | options))


def test_a_layer_without_height_and_width_is_reported(model, images) -> None:
    with pytest.raises(OptionError, match="Explain a layer that outputs a feature map"):
        evaluate(model, images, {"dense": tfviz.ExcitationBackprop(model, "head")}, FAST)


def test_the_explainer_of_another_model_is_reported(model, images) -> None:
    with pytest.raises(OptionError, match="explains a different model"):
        evaluate(model, images, tfviz.Saliency(classifier()), FAST)


def test_no_boxes_at_all_are_reported(model, images) -> None:
    with pytest.raises(OptionError, match="none of them contains a box"):
        evaluate(model, images, "saliency", "pointing_game", [None] * COUNT)


@pytest.mark.parametrize("shape", [(0, 13, 17, 3), (2, 5, 5, 3), (13, 17, 3)])
def test_images_that_do_not_fit_are_reported(model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        evaluate(model, np.zeros(shape, "float32"), "saliency", FAST)


@pytest.mark.parametrize(
    "head",
    [
        [layers.Flatten(), layers.Dense(1)],  # a number
        [layers.Conv2D(4, 1)],  # a class per pixel
    ],
)
def test_a_model_without_classes_is_reported(images, head: list[keras.Layer]) -> None:
    model = keras.Sequential([keras.Input((13, 17, 3)), *head])
    with pytest.raises(UnsupportedModelError, match=r"classifier whose output has shape \(N, classes\)"):
        evaluate(model, images, "saliency", FAST)


def test_a_model_with_two_inputs_is_reported(images) -> None:
    one, two = keras.Input((13, 17, 3)), keras.Input((4,))
    model = keras.Model([one, two], layers.Concatenate()([layers.Dense(3)(layers.Flatten()(one)), two]))
    with pytest.raises(UnsupportedModelError, match="a single image input"):
        evaluate(model, images, "saliency", FAST)


def test_options_of_a_metric_are_checked_by_python() -> None:
    with pytest.raises(TypeError):
        Road(noize=1)  # type: ignore[call-arg]
