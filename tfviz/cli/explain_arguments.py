"""Build short strings that describe everything the `tfviz explain` results depend on."""

from __future__ import annotations

import argparse

from tfviz.cli.plan import Plan
from tfviz.cli.run_arguments import shared_arguments, short_digest


def arguments_of(args: argparse.Namespace, plan: Plan) -> dict[str, str]:
    """Return short strings that describe what the results depend on, keyed by argument name.

    Args:
        args: the parsed arguments.
        plan: the plan for these arguments.
    """
    return {
        **shared_arguments(args, plan),
        "class names": short_digest(name.encode("utf-8", "surrogatepass") for name in plan.labels.names),
        "--target": ", ".join(args.target),
        "--scale": args.scale,
        "--underlay": args.underlay,
        "--raw": "yes" if args.raw else "no",
        "--no-pictures": "no" if args.pictures else "yes",
    }
