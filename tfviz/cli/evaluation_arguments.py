"""Build short strings that describe everything the `tfviz evaluate` scores depend on."""

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
    """Return short strings that describe what the scores depend on, keyed by argument name.

    Args:
        args: the parsed arguments.
        plan: the plan for these arguments.
        jobs: the images.

    Returns:
        The strings. A file is represented by its name and a digest of its content.
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
    """Yield the class names, and the name and content of each annotation file, as bytes to hash."""
    yield json.dumps(plan.labels.names).encode()
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        yield file.name.encode("utf-8", "surrogateescape")
        yield file.read_bytes()
