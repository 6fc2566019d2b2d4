"""What the scores of `tfviz evaluate` depend on, as short texts to store and to compare."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfviz.cli.jobs import Job
from tfviz.cli.plan import Plan
from tfviz.cli.run_arguments import shared_arguments, short_digest
from tfviz.errors import shown


def arguments_of(args: argparse.Namespace, plan: Plan, jobs: Sequence[Job]) -> dict[str, str]:
    """Return what the scores depend on, by the name of the argument.

    Args:
        args: the parsed arguments.
        plan: what they mean for the model.
        jobs: the images.

    Returns:
        The texts. Files are represented by their name and a digest of their content.
    """
    names = sorted(str(job.path.absolute()) for job in jobs)
    return {
        **shared_arguments(args, plan),
        "--metrics": ", ".join(args.metrics),
        "--targets": ", ".join(args.target),
        "--boxes": "none" if args.boxes is None else f"{shown(args.boxes.name)} {short_digest(_boxes(args.boxes, plan))}",
        "--seed": str(args.seed),
        "images": f"{len(jobs)} files {short_digest(name.encode('utf-8', 'surrogateescape') for name in names)}",
    }


def _boxes(path: Path, plan: Plan) -> Iterable[bytes]:
    """Yield the annotations, and the names of the classes, to which they are matched."""
    yield json.dumps(plan.labels.names).encode()
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        yield file.name.encode("utf-8", "surrogateescape")
        yield file.read_bytes()
