"""`tfviz layers`: the layers of a model, and the one that the class activation maps choose by themselves."""

from __future__ import annotations

import argparse
from typing import Any

from tfviz.cli.columns import aligned
from tfviz.cli.progress import tell
from tfviz.cli.quiet import import_tensorflow
from tfviz.errors import UnsupportedModelError


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    import_tensorflow()
    from tfviz.cli.plan import load
    from tfviz.reading.read_model import read_model

    graph = read_model(load(args.model, args.weights)).scored("logits")
    chosen, remark = _automatic(graph)
    rows = [("", "name", "path", "output shape", "kind")]
    for path, layer in graph.layers.items():
        mark = "*" if path == chosen else ""
        shapes = [value.shape for name, value in graph.names.items() if name == path or name.startswith(f"{path}[")]
        rows.append((mark, layer.name, path, ", ".join(map(_shown, shapes)), type(layer).__name__))
    tell(f"{aligned(rows)}\n\n{remark}")
    return 0


def _automatic(graph: Any) -> tuple[str | None, str]:
    """The path of the layer that CAMs choose, and a sentence on it."""
    from tfviz.graph.layer_search import last_feature_map

    try:
        path = last_feature_map(graph).path
    except UnsupportedModelError as error:
        return None, f"No layer is chosen automatically: {error}"
    return path, f"* automatic: the class activation maps look at '{path}' unless --layer names another."


def _shown(shape: tuple[int | None, ...]) -> str:
    return " × ".join("any" if side is None else str(side) for side in shape[1:])
