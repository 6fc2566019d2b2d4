"""What run.json and a line of the index may look like; anything else is refused.

The same forms hold for what trainers send and for what is found in folders.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tfviz.viewer import limits

ID_PATTERN = r"^[0-9a-f]{32}$"
METHOD_PATTERN = r"^[a-z0-9_-]{1,64}$"
_LARGEST_COUNT = 2**53  # what every reader of JSON, JavaScript included, holds exactly

Text = Annotated[str, Field(max_length=limits.MAX_TEXT)]
MethodName = Annotated[str, Field(pattern=METHOD_PATTERN)]
Count = Annotated[int, Field(ge=0, le=_LARGEST_COUNT)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def line(self) -> bytes:
        """As compact JSON, without the end of a line."""
        return self.model_dump_json(by_alias=True).encode("utf-8")


class Method(_Form):
    """A method of a run: `name` is unique in the run, `key` is that of tfviz.METHODS."""

    name: MethodName
    key: MethodName
    title: Text
    layer: Text | None
    style: Literal["heatmap", "signed", "grey"]


class ImageSize(_Form):
    """The size of an image in pixels."""

    height: int = Field(ge=1, le=limits.MAX_SIDE_PX)
    width: int = Field(ge=1, le=limits.MAX_SIDE_PX)


class Run(_Form):
    """run.json."""

    format: Literal[1]
    id: str = Field(pattern=ID_PATTERN)
    name: Text
    started: float = Field(ge=0)
    model: Text
    labels: list[Text] | None = Field(max_length=limits.MAX_LABELS)
    methods: list[Method] = Field(min_length=1, max_length=limits.MAX_METHODS)
    images: list[ImageSize] = Field(min_length=1, max_length=limits.MAX_IMAGES)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Run:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError(f"the names of the methods are not unique: {', '.join(names)}")
        return self

    @property
    def method_names(self) -> list[str]:
        return [method.name for method in self.methods]


class Prediction(_Form):
    """The class that an image gets, and the model's own output for it."""

    class_: Count = Field(alias="class")
    score: float


class Record(_Form):
    """A line of the index: one snapshot."""

    number: int = Field(ge=0, lt=limits.MAX_SNAPSHOTS)
    when: Literal["start", "epoch", "batch", "end"]
    epoch: Count
    batch: Count | None
    step: Count
    time: float = Field(ge=0)
    logs: dict[Text, float | None] = Field(max_length=limits.MAX_LOGS)
    predictions: list[Prediction | None] = Field(max_length=limits.MAX_IMAGES)
    methods: list[MethodName] = Field(max_length=limits.MAX_METHODS)
    errors: dict[MethodName, Annotated[str, Field(max_length=limits.MAX_ERROR_TEXT)]] = Field(max_length=limits.MAX_METHODS)

    def misfit(self, run: Run) -> str | None:
        """Why the record cannot be one of this run, if so."""
        if len(self.predictions) != len(run.images):
            return f"expected {len(run.images)} predictions, one for each image, got {len(self.predictions)}"
        strange = sorted({*self.methods, *self.errors} - set(run.method_names))
        return f"the run has no method {', '.join(strange)}" if strange else None


def reason(error: ValidationError) -> str:
    """The first of what is wrong, in one line without the value that came."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    return f"{place + ': ' if place else ''}{first['msg']}{f' (and {more} more)' if more else ''}"
