"""`tfviz layers`: list a model's layers and mark the default layer for class activation maps."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tfviz.cli.options import add_model, new_parser
from tfviz.cli.terminal import aligned, import_tensorflow, print_line
from tfviz.errors import UnsupportedModelError

if TYPE_CHECKING:
    from tfviz.graph.graph import Graph, Value
    from tfviz.graph.token_grid import TokenGrid

_ABOUT = "List a network's layers. An asterisk marks the default layer for class activation maps."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(subparsers.add_parser, "layers", help="list a network's layers", description=_ABOUT)
    parser.set_defaults(module="tfviz.cli.layers")
    add_model(parser, weights="none", choices="not needed to list layers;")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the table and return the exit code."""
    import_tensorflow()
    from tfviz.cli.plan import load
    from tfviz.reading.read_model import read_model

    graph = read_model(load(args.model, args.weights)).scored("logits")
    chosen, remark = _automatic(graph)
    grids = _grids(graph)
    rows = [("", "name", "path", "output shape", "kind")]
    for path, layer in graph.layers.items():
        mark = "*" if path == chosen else ""
        values = [value for name, value in graph.names.items() if name == path or name.startswith(f"{path}[")]
        shapes = ", ".join(_shown(value.shape) + (f" ({grids[value]})" if value in grids else "") for value in values)
        rows.append((mark, layer.name, path, shapes, type(layer).__name__))
    print_line(f"{aligned(rows)}\n\n{remark}")
    return 0


def _grids(graph: Graph) -> dict[Value, TokenGrid]:
    """Return the token grids, keyed by value, or an empty dict if the image size is not fixed."""
    from tfviz.graph.layer_search import may_be_tokens
    from tfviz.graph.token_grid import known_sizes, token_grids

    sizes = known_sizes(graph)
    tokens = {value for value in graph.names.values() if may_be_tokens(graph, value)}
    return {} if sizes is None else token_grids(graph, tokens, sizes)


def _automatic(graph: Graph) -> tuple[str | None, str]:
    """Return the path of the default layer for class activation maps (or None) and a remark."""
    from tfviz.graph.layer_search import automatic_layer

    try:
        path = automatic_layer(graph).path
    except UnsupportedModelError as error:
        return None, f"This model has no default layer: {error}"
    return path, f"* Class activation maps use '{path}' unless you pass another --layer."


def _shown(shape: tuple[int | None, ...]) -> str:
    return " × ".join("any" if side is None else str(side) for side in shape[1:])
