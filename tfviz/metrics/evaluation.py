"""Evaluate methods: how well do their maps agree with the model and with annotated objects?

The field has not agreed on a single metric, and metrics can contradict each other. An evaluation
therefore reports several metrics with confidence intervals and also scores control maps, which do
not depend on the network. If the random control is not significantly worse than a method, the
metric is inconclusive for that method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from tfviz.errors import OptionError
from tfviz.metrics import evaluation_formats
from tfviz.metrics.controls import RANDOM
from tfviz.metrics.image_scores import ImageScorer, ScoreRow
from tfviz.metrics.lookup import Metrics, measure_named
from tfviz.metrics.metric import Measure, Metric
from tfviz.metrics.regions import Regions
from tfviz.metrics.sources import Methods
from tfviz.metrics.statistics import Estimate, Sample, decides, estimate
from tfviz.metrics.visible_regions import AnyRegions
from tfviz.targets import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row: TypeAlias = dict[str, Any]
_Curves: TypeAlias = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Evaluation:
    """The result of `tfviz.evaluate`: one row per method, layer and measure.

    Notebooks display an evaluation as a table. `tfviz.evaluate` creates an evaluation from images,
    and `Evaluation.of` creates one from stored scores.

    Args:
        rows: dicts with the keys method, layer (None if the method has none), metric, value, low,
            high (the 95 % interval), n (the number of images, or of image-class pairs for a share),
            blank (the number of blank maps), decides (False if the random control is not
            significantly worse; None for controls, or if there is no random control), forwards
            (forward passes per image), higher_is_better and is_control.
        scores: dicts with the keys method, layer, metric, image, target, value, blank, forwards,
            is_control and curve.
        curves: a nested dict {measure: {method: array}}. Each array has shape (points, 2) and
            contains fractions of pixels and the mean values at these fractions.
        notes: what was skipped or assumed.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = tfviz.load_images("tfviz/shapes/samples", model)[:2]
        >>> evaluation = tfviz.evaluate(model, images, "grad_cam", metrics="single_deletion")
        >>> [row["method"] for row in evaluation.rows]
        ['grad_cam', 'random', 'center', 'edges', 'constant']
    """

    rows: list[Row]
    scores: list[ScoreRow]
    curves: _Curves = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, scores: Sequence[ScoreRow], *, metrics: Sequence[Metric] = (), notes: Sequence[str] = (), seed: int = 0
    ) -> Evaluation:
        """Create an evaluation from image scores.

        Args:
            scores: the scores of all images, in the format yielded by `ImageScorer.score_images`.
            metrics: custom metrics that are not in `METRICS`.
            notes: what was skipped or assumed.
            seed: the bootstrap seed.

        Returns:
            The evaluation.
        """
        own = {measure.key: measure for metric in metrics for measure in metric.measures}
        rows = []
        for key in dict.fromkeys(score["metric"] for score in scores):
            measure = own.get(key) or measure_named(key) or Measure(key)
            rows += _rows_of(measure, [score for score in scores if score["metric"] == key], seed)
        order = list(dict.fromkeys((row["method"], row["layer"]) for row in rows))
        rows.sort(key=lambda row: (row["is_control"], order.index((row["method"], row["layer"]))))
        return cls(rows, list(scores), _curves(scores), list(notes))

    def to_markdown(self) -> str:
        """Format the rows as a Markdown table with one line per method and one column per measure.

        Returns:
            The table, followed by a legend and the notes.
        """
        return evaluation_formats.markdown(self.rows, self.notes)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Format the rows as CSV with one line per method and measure.

        Args:
            path: a file to write the CSV text to. If None, no file is written.

        Returns:
            The CSV text.

        Raises:
            OutputError: the file cannot be written.
        """
        return evaluation_formats.csv_text(self.rows, path)

    def plot(self) -> Figure:
        """Plot the values with their intervals and, below them, the curves.

        Returns:
            A Matplotlib figure that is not registered with pyplot. It contains one Axes for each
            measure, then one for each measure that has curves.
        """
        from tfviz.metrics.evaluation_figure import figure_of

        return figure_of(self.rows, self.curves)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def evaluate(
    model: keras.Model,
    images: Any,
    methods: Methods = "all",
    metrics: Metrics = "default",
    boxes: Sequence[AnyRegions] | None = None,
    targets: Target | str = None,
    *,
    controls: bool = True,
    reduce: str = "sum",
    mean_color: npt.ArrayLike | None = None,
    output: str | int | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> Evaluation:
    """Measure how faithful each method's maps are and whether they lie on the annotated objects.

    `tfviz.METRICS` lists the metrics, and each metric's module describes it. A map is blank if all
    its values are equal or any value is not finite. Blank maps are never dropped. Depending on the
    metric, they are scored like the random control, as misses (pointing game), or as 0
    (correlations and mass in region).

    Args:
        model: a classifier with one image input and outputs of shape (N, classes).
        images: preprocessed images, as an array of shape (N, H, W, C) or a dataset.
        methods: "all" (methods that don't support the model are skipped with a note), a key of
            `tfviz.METHODS`, an explainer, or a function (images, classes) -> maps; a list of
            these; or a dict that maps table names to these.
        metrics: "default", "all", a key of `tfviz.METRICS`, a metric with custom options such as
            `tfviz.METRICS["pointing_game"](tolerance=5)`, or a list of these. Metrics that need
            annotated objects run only if `boxes` is given.
        boxes: one entry per image: a `tfviz.metrics.regions.Regions` object; a dict that maps
            classes to boxes or a mask, in pixels of `images`; or None for an image without
            annotations. If the preprocessing from `load_model` crops images, `Regions` are cropped
            in the same way.
        targets: the class number or name to explain, one for all images or one per image. None
            selects each image's top class. Metrics that need annotated objects explain every class
            that has a region instead.
        controls: whether to add rows for the control maps. Without them, the evaluation cannot
            determine whether a metric is conclusive.
        reduce: how channels are combined into one map: "sum" adds the signed channels;
            "abs_max" uses the largest absolute value.
        mean_color: the value that replaces removed pixels, in the model's value range: one number,
            or one per channel. None selects the mean color for the model's preprocessing; if the
            preprocessing is unknown, it is inferred from the images' value range.
        output: the name, dict key or index of the output to evaluate, if the model has several.
        batch_size: the maximum number of images to run at once. It does not affect the results.
        seed: the seed for tie breaking, noise and the bootstrap.

    Returns:
        The evaluation, with `rows`, `to_markdown()`, `to_csv()` and `plot()`.

    Raises:
        UnsupportedModelError: the model is not an image classifier, or an explicitly named method
            does not support it.
        UnknownMethodError: there is no such method.
        ImageError: there are no images, or they don't fit the model.
        TargetError: the targets are not one class per image.
        OptionError: a metric is unknown or needs boxes, the boxes don't fit the images or the
            model, or another option has an invalid value.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = tfviz.load_images("tfviz/shapes/samples", model)[:2]
        >>> evaluation = tfviz.evaluate(model, images, ["saliency", "grad_cam"], metrics="road")
        >>> [(row["method"], row["forwards"]) for row in evaluation.rows[:2]]
        [('saliency', 18.0), ('grad_cam', 18.0)]
    """
    if boxes is not None and not any(map(_has_boxes, boxes)):
        raise OptionError(
            f"`boxes` has {len(boxes)} entries, but none of them contains a box. Pass boxes for at least one image, or "
            "boxes=None to skip the metrics that need annotated objects."
        )
    scorer = ImageScorer(
        model,
        methods,
        metrics,
        has_regions=boxes is not None,
        controls=controls,
        reduce=reduce,
        mean_color=mean_color,
        output=output,
        batch_size=batch_size,
        seed=seed,
    )
    scores = [score for rows in scorer.score_images(images, boxes, targets) for score in rows]
    return Evaluation.of(scores, metrics=scorer.metrics, notes=scorer.notes, seed=seed)


def _has_boxes(regions: AnyRegions) -> bool:
    return bool(regions.classes) if isinstance(regions, Regions) else bool(regions)


def _rows_of(measure: Measure, scores: Sequence[ScoreRow], seed: int) -> list[Row]:
    """Summarize the scores of one measure, with one row per method and layer."""
    numbers = {number: i for i, number in enumerate(sorted({score["image"] for score in scores}))}
    by_source: dict[tuple[str, str | None], list[ScoreRow]] = {}
    for score in scores:
        by_source.setdefault((score["method"], score["layer"]), []).append(score)
    estimates = {source: estimate(_sample(own, numbers), measure.statistic, seed) for source, own in by_source.items()}
    random = estimates.get((RANDOM, None))
    return [
        _row(measure, source, own, estimates[source], None if own[0]["is_control"] else random, len(numbers))
        for source, own in by_source.items()
    ]


def _sample(scores: Sequence[ScoreRow], numbers: dict[int, int]) -> Sample:
    return Sample(
        np.array([score["value"] for score in scores], np.float64),
        np.array([numbers[score["image"]] for score in scores], np.int64),
        np.array([score["target"] for score in scores], np.int64),
        len(numbers),
    )


def _row(
    measure: Measure,
    source: tuple[str, str | None],
    scores: Sequence[ScoreRow],
    found: Estimate,
    random: Estimate | None,
    count: int,
) -> Row:
    method, layer = source
    images = len({score["image"] for score in scores})
    return {
        "method": method,
        "layer": layer,
        "metric": measure.key,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": len(scores) if measure.statistic == "share" else images,
        "blank": sum(bool(score["blank"]) for score in scores),
        "decides": None if random is None else decides(found, random, count, measure.higher_is_better),
        "forwards": sum(score["forwards"] for score in scores) / images,
        "higher_is_better": measure.higher_is_better,
        "is_control": bool(scores[0]["is_control"]),
    }


def _curves(scores: Sequence[ScoreRow]) -> _Curves:
    """Average the curves over the images for each measure and method."""
    layers = {(score["method"], score["layer"]) for score in scores}
    names = [method for method, _ in layers]
    found: dict[str, dict[str, list[Any]]] = {}
    for score in scores:
        if score.get("curve") is not None:
            method = score["method"]
            label = f"{method} ({score['layer']})" if names.count(method) > 1 else method
            found.setdefault(score["metric"], {}).setdefault(label, []).append(score["curve"])
    return {key: {label: np.mean(many, axis=0) for label, many in own.items()} for key, own in found.items()}
