"""The run folder's schema: the fields, types and limits of run.json and of the index lines.

The callback checks these limits before it writes data, so the viewer can show every run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypedDict

FORMAT: Final = 1
MAX_IMAGES = 256  # per run
MAX_METHODS = 64  # per run
MAX_SNAPSHOTS = 1_000_000  # per run
MAX_SIDE_PX = 4096
MAX_LABELS = 100_000
MAX_LOGS = 200  # metrics per snapshot
MAX_TEXT = 500  # characters in a name
MAX_ERROR_TEXT = 20_000  # characters
MAX_RUN_BYTES = 8 << 20  # size of run.json
MAX_LABELS_BYTES = 7 << 20  # size of the labels in run.json
MAX_RECORD_BYTES = 1 << 20  # size of an index line
MAX_COUNT = 2**53  # JavaScript represents all integers up to this one exactly

ID_PATTERN = r"^[0-9a-f]{32}$"
METHOD_PATTERN = r"^[a-z0-9_-]{1,64}$"


@dataclass(frozen=True)
class Range:
    """The minimum and maximum values allowed for a number. None means that there is no maximum."""

    least: float
    most: float | None = None


@dataclass(frozen=True)
class Length:
    """The minimum and maximum number of characters in a text, or of items in a list or object."""

    least: int
    most: int


@dataclass(frozen=True)
class Pattern:
    """A regular expression that must match the entire text."""

    expression: str


Text = Annotated[str, Length(0, MAX_TEXT)]
MethodName = Annotated[str, Pattern(METHOD_PATTERN)]
Count = Annotated[int, Range(0, MAX_COUNT)]
Side = Annotated[int, Range(1, MAX_SIDE_PX)]
Style = Literal["heatmap", "signed", "grey"]
Seconds = Annotated[float, Range(0)]  # since 1970


class Method(TypedDict):
    """One method in a run. `name` is unique in the run. `key` is its key in tfviz.METHODS."""

    name: MethodName
    key: MethodName
    title: Text
    layer: Text | None
    style: Style


class ImageSize(TypedDict):
    """An image size in pixels."""

    height: Side
    width: Side


class RunExtras(TypedDict, total=False):
    """Optional fields of run.json.

    Attributes:
        true_classes: the true class of each image, or None if it is unknown.
        kind: what the pictures show, if they are not images.
    """

    true_classes: Annotated[list[Count | None], Length(1, MAX_IMAGES)]
    kind: Literal["signal", "volume", "video"]


class Run(RunExtras):
    """The content of run.json."""

    format: Literal[1]
    id: Annotated[str, Pattern(ID_PATTERN)]
    name: Text
    started: Seconds
    model: Text
    labels: Annotated[list[Text], Length(0, MAX_LABELS)] | None
    methods: Annotated[list[Method], Length(1, MAX_METHODS)]
    images: Annotated[list[ImageSize], Length(1, MAX_IMAGES)]


# An image's top or explained class, and the model's output for that class. Only the functional form
# of TypedDict allows the key "class".
Prediction = TypedDict("Prediction", {"class": Count, "score": float})


class RecordExtras(TypedDict, total=False):
    """Optional fields of an index line.

    Attributes:
        explained: for each image, the explained class and the model's output for that class, if the
            class is not the top class.
        strengths: for each method, one text per image that describes the map's strength.
        images: the positions of this snapshot's images in the data set, if the run's images change.
            The snapshot then has its own image files.
        true_classes: the true classes of these images, with None for unknown classes.
        has_new_weights: for the first snapshot of a continued run whose model predicts no classes,
            whether the maps differ from those of the previous snapshot.
    """

    explained: Annotated[list[Prediction | None], Length(0, MAX_IMAGES)]
    strengths: Annotated[dict[MethodName, Annotated[list[Text], Length(0, MAX_IMAGES)]], Length(0, MAX_METHODS)]
    images: Annotated[list[Count], Length(1, MAX_IMAGES)]
    true_classes: Annotated[list[Count | None], Length(1, MAX_IMAGES)]
    has_new_weights: bool


class Record(RecordExtras):
    """An index line, which describes one snapshot.

    Attributes:
        epoch: the epoch, counted from 0, as in `fit`.
        batch: the number of training batches so far in this epoch, or None if the snapshot was not
            taken after a batch.
        step: the number of training batches so far in the run.
        logs: the metrics, with None for NaN and infinity.
        predictions: one prediction per image.
        methods: the methods that drew pictures.
        errors: the error messages of the other methods, keyed by method name.
    """

    number: Annotated[int, Range(0, MAX_SNAPSHOTS - 1)]
    when: Literal["start", "epoch", "batch", "end"]
    epoch: Count
    batch: Count | None
    step: Count
    time: Seconds
    logs: Annotated[dict[Text, float | None], Length(0, MAX_LOGS)]
    predictions: Annotated[list[Prediction | None], Length(0, MAX_IMAGES)]
    methods: Annotated[list[MethodName], Length(0, MAX_METHODS)]
    errors: Annotated[dict[MethodName, Annotated[str, Length(0, MAX_ERROR_TEXT)]], Length(0, MAX_METHODS)]


def names_of(run: Run) -> list[str]:
    """Return the names of the methods in a run."""
    return [method["name"] for method in run["methods"]]


def line_of(value: Mapping[str, Any]) -> bytes:
    """Serialize a run or record as one line of strict, compact JSON without a line break."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """Truncate text, and replace characters that UTF-8 cannot encode with question marks."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else text[: most - 1] + "…"
