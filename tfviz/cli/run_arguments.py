"""Build short strings that describe everything a command's results depend on."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import tfviz
from tfviz.cli.plan import Plan
from tfviz.errors import shown
from tfviz.jobs.model_digest import digest_of

_DIGITS = 12


def shared_arguments(args: argparse.Namespace, plan: Plan) -> dict[str, str]:
    """Return short strings that describe what the results of any command depend on, keyed by name.

    Args:
        args: the parsed arguments.
        plan: the plan for these arguments.

    Returns:
        The strings. The model and the background images are represented by digests.
    """
    layers = {explainer.key: getattr(explainer, "layer_path", "") for explainer in plan.explainers}
    return {
        "version": tfviz.__version__,
        "model": f"{shown(Path(args.model).name)} {digest_of(plan.explainers[0].model)[:_DIGITS]}",
        "preprocessing": repr(plan.inputs),
        "methods": ", ".join(f"{key} ({layer})" if layer else key for key, layer in layers.items()),
        "--backgrounds": "none" if args.backgrounds is None else shown(args.backgrounds.absolute()),
        "images in --backgrounds": short_digest(
            np.ascontiguousarray(one.options["backgrounds"]).tobytes()
            for one in plan.explainers
            if "backgrounds" in one.options
        ),
    }


def stamp_of(path: Path) -> list[int]:
    """Return a file's size and modification time, which are compared to detect changes."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def short_digest(parts: Iterable[bytes]) -> str:
    """Return the first digits of the SHA-256 digest of all parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]
