"""`tfviz methods`: list the methods, one per line."""

from __future__ import annotations

import argparse

from tfviz.cli.options import new_parser
from tfviz.cli.terminal import aligned, import_tensorflow, print_line


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(subparsers.add_parser, "methods", help="list the methods", description="List the methods.")
    parser.set_defaults(module="tfviz.cli.methods")
    return parser


def run(_args: argparse.Namespace) -> int:
    """Print the table and return the exit code."""
    import_tensorflow()
    from tfviz.methods import METHODS
    from tfviz.methods.lookup import takes

    rows = [("method", "question it answers", "layer", "target")]
    for key, method in METHODS.items():
        default = "automatic" if method.needs_layer else "the image"
        layer = f"--layer, default: {default}" if takes(method, "layer") else "none"
        rows.append((key, method.question, layer, "--target" if method.takes_target else "none"))
    print_line(aligned(rows))
    return 0
