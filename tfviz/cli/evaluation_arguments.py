"""What the scores of `tfviz evaluate` depend on, as short texts to store and to compare."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

import tfviz
from tfviz.cli.jobs import Job
from tfviz.cli.plan import Plan
from tfviz.errors import shown

_DIGITS = 12


def arguments_of(args: argparse.Namespace, plan: Plan, model: keras.Model, jobs: Sequence[Job]) -> dict[str, str]:
    """Return what the scores depend on, by the name of the argument.

    Args:
        args: the parsed arguments.
        plan: what they mean for the model.
        model: the model.
        jobs: the images.

    Returns:
        The texts. Files are represented by their name and a digest of their content.
    """
    layers = {explainer.key: getattr(explainer, "layer_path", "") for explainer in plan.explainers}
    names = sorted(str(job.path.absolute()) for job in jobs)
    return {
        "version": tfviz.__version__,
        "model": f"{shown(Path(args.model).name)} {_digest(_content_of(model))}",
        "preprocessing": repr(plan.preprocessing),
        "methods": ", ".join(f"{key} ({layer})" if layer else key for key, layer in layers.items()),
        "--backgrounds": "none" if args.backgrounds is None else shown(args.backgrounds.absolute()),
        "--metrics": ", ".join(args.metrics),
        "--targets": ", ".join(args.target),
        "--boxes": "none" if args.boxes is None else f"{shown(args.boxes.name)} {_digest(_boxes(args.boxes, plan))}",
        "--seed": str(args.seed),
        "images": f"{len(jobs)} files {_digest(name.encode('utf-8', 'surrogateescape') for name in names)}",
    }


def stamp_of(path: Path) -> list[int]:
    """Return size and modification time of a file, which tell whether it has changed."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _content_of(model: keras.Model) -> Iterable[bytes]:
    yield json.dumps([layer.name for layer in model.layers]).encode()
    for variable in model.variables:
        yield keras.ops.convert_to_numpy(variable).tobytes()


def _boxes(path: Path, plan: Plan) -> Iterable[bytes]:
    """Yield the annotations, and the names of the classes, to which they are matched."""
    yield json.dumps(plan.labels.names).encode()
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        yield file.name.encode("utf-8", "surrogateescape")
        yield file.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]
