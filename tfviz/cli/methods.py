"""`tfviz methods`: one line for each method."""

from __future__ import annotations

import argparse

from tfviz.cli.columns import aligned
from tfviz.cli.progress import tell
from tfviz.cli.quiet import import_tensorflow


def run(_args: argparse.Namespace) -> int:
    """Prints the table."""
    import_tensorflow()
    from tfviz.cli.choice import takes_layer
    from tfviz.methods import METHODS

    rows = [("method", "question it answers", "layer", "target")]
    for key, method in METHODS.items():
        default = "automatic" if method.needs_layer else "the picture"
        layer = f"--layer, else {default}" if takes_layer(method) else "none"
        rows.append((key, method.question, layer, "--target" if method.takes_target else "none"))
    tell(aligned(rows))
    return 0
