"""What the results of `tfviz explain` depend on, as short texts to store and to compare."""

from __future__ import annotations

import argparse

from tfviz.cli.plan import Plan
from tfviz.cli.run_arguments import shared_arguments


def arguments_of(args: argparse.Namespace, plan: Plan) -> dict[str, str]:
    """Return what the results depend on, by the name of the argument.

    Args:
        args: the parsed arguments.
        plan: what they mean for the model.
    """
    return {
        **shared_arguments(args, plan),
        "--target": ", ".join(args.target),
        "--scale": args.scale,
        "--underlay": args.underlay,
        "--raw": "yes" if args.raw else "no",
        "--no-pictures": "no" if args.pictures else "yes",
    }
