"""Define the schema of tfviz.json.

A folder may come from an untrusted source. Content that conforms to this schema can neither crash
the code that reads it nor exhaust memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypedDict

from tfviz.runs.schema import Length, Range
from tfviz.runs.validation import fault_of

_MAX_DEPTH = 50  # levels of nested inputs and outputs
_MAX_ITEMS = 100_000

DType = Literal[
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
]
Size = Annotated[int, Range(0, 2**31 - 1)]
Shape = Annotated[list[Size | None], Length(0, 32)]
Name = Annotated[str, Length(1, 1000)]
Target = Literal["top", "class", "weights", "fixed"]


class Tensor(TypedDict):
    """The description of a tensor that a program accepts or returns."""

    name: Name
    shape: Shape
    dtype: DType


class Content(TypedDict):
    """The fields of `Manifest` that are used to load an explainer."""

    format: str
    method: str
    options: dict[str, Any]
    layer: str | None
    model: str
    inputs: Annotated[list[Tensor], Length(1, _MAX_ITEMS)]
    input_structure: Any
    outputs: Any
    attribution: Any
    takes_target: bool
    targets: Annotated[list[Target], Length(0, 4)]
    classes: Size | None
    scores: Shape | None
    preprocessing: dict[str, Any] | None
    labels: list[str] | None
    style: Literal["heatmap", "signed", "grey"]
    versions: dict[str, Any]
    extra: dict[str, Any]


class ProgramExtra(TypedDict):
    """The fields of "extra" that the StableHLO format uses."""

    arguments: Annotated[list[Tensor], Length(1, _MAX_ITEMS)]
    weights: list[Tensor]
    results: Annotated[list[Tensor], Length(1, _MAX_ITEMS)]


class LiteRTExtra(TypedDict):
    """The fields of "extra" that the LiteRT format uses."""

    batch_size: Annotated[int, Range(1, 1 << 16)]


class OnnxExtra(TypedDict):
    """The fields of "extra" that the ONNX format uses."""

    outputs: dict[str, str]


_STRUCTURES = ("input_structure", "outputs", "attribution")
_EXTRA: dict[str, type] = {"stablehlo": ProgramExtra, "litert": LiteRTExtra, "onnx": OnnxExtra}


def manifest_fault(content: dict[str, Any]) -> str | None:
    """Describe the first fault in the content of tfviz.json, or return None if it is valid.

    If the format is unknown, the content is not checked.
    """
    if content.get("format") not in (*_EXTRA, "saved_model"):
        return None  # the caller rejects it
    return (
        fault_of(Content, {name: value for name, value in content.items() if name != "files"})
        or fault_of(dict[str, str], content.get("files", {}))
        or next(filter(None, map(_structure_fault, (content[part] for part in _STRUCTURES))), None)
        or _extra_fault(content["format"], content["extra"])
    )


def _structure_fault(structure: Any) -> str | None:
    """Describe the fault in a nested structure of names, or return None if it is valid."""
    level = [structure]
    for _ in range(_MAX_DEPTH):
        if not all(isinstance(one, str | list | dict) for one in level):
            return "expected names, or lists and objects of them"
        level = [part for one in level if not isinstance(one, str) for part in _parts(one)]
        if not level:
            return None
    return f"expected names, nested in fewer than {_MAX_DEPTH} lists and objects"


def _parts(one: Any) -> Iterator[Any]:
    yield from one.values() if isinstance(one, dict) else one


def _extra_fault(format: str, extra: dict[str, Any]) -> str | None:
    kind = _EXTRA.get(format)
    if kind is None:
        return None
    fault = fault_of(kind, {name: value for name, value in extra.items() if name in kind.__annotations__})
    return fault and f"extra: {fault}"
