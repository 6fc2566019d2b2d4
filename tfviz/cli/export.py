"""`tfviz export`: export an explainer to a folder that can be used without tfviz."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfviz.cli.options import add_layer, add_network, new_parser
from tfviz.cli.terminal import Progress, aligned, import_tensorflow, print_line
from tfviz.errors import OptionError, shown
from tfviz.export import FORMATS, export, format_named

if TYPE_CHECKING:
    import keras

    from tfviz.export.manifest import Manifest
    from tfviz.methods.explainer import Explainer

_ABOUT = """\
Export an explainer to a folder that can be used without tfviz. The explainer accepts arrays in the
network's format and returns the outputs, the class and the map. With --include image it also
accepts JPEG and PNG files; with --overlay it also returns overlays.
"""
_EPILOG = """\
formats:
{formats}

examples:
  tfviz export --model mobilenet_v2 --method grad_cam --output explainer
  tfviz export --model my.keras --preprocess tf --include image --overlay --output explainer
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    formats = aligned([("  " + key, one.description) for key, one in FORMATS.items()])
    parser = new_parser(
        subparsers.add_parser,
        "export",
        help="export an explainer for production",
        description=_ABOUT,
        epilog=_EPILOG.format(formats=formats),
    )
    parser.set_defaults(module="tfviz.cli.export")
    add_network(parser)
    parser.add_argument(
        "--method", default="grad_cam", metavar="K", help="method to export (see `tfviz methods`); default: %(default)s"
    )
    add_layer(parser)
    parser.add_argument("--target", metavar="T", help="class to explain by default, by number or name; default: the top class")
    parser.add_argument("--format", default="saved_model", metavar="F", help="export format (see below); default: %(default)s")
    parser.add_argument(
        "--include", choices=["image"], help="image: also accept JPEG and PNG files (saved_model only); default: arrays only"
    )
    parser.add_argument("--overlay", action="store_true", help="with --include image: also return the overlay as a PNG")
    parser.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="format-specific option, such as batch_size=8 for stablehlo; may be repeated; default: none",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to create")
    parser.add_argument("--overwrite", action="store_true", help="replace an exported explainer in the folder")
    return parser


def run(args: argparse.Namespace) -> int:
    """Export the explainer, print a summary and return the exit code."""
    from tfviz.export import folders
    from tfviz.export.manifest import Manifest

    format_named(args.format)
    _require_of_format(args.option)
    # Check the output folder first, because TensorFlow takes seconds to load.
    folders.destination(args.output, overwrite=args.overwrite)
    with Progress(2) as progress:
        progress.show(0, "starting TensorFlow")
        import_tensorflow()
        from tfviz.cli.plan import load

        progress.show(0, "loading the model")
        model = load(args.model, args.weights, preprocessing=args.preprocess, labels=args.labels, size=args.image_size)
        explainer = _explainer(args, model, progress)
        progress.show(1, f"exporting {explainer.key}")
        options = {name: value for name, value in _options(args, explainer).items() if value is not None}
        folder = export(explainer, args.output, format=args.format, overwrite=args.overwrite, **options)
    print_line("\n".join(closing_lines(args.output, Manifest.read(folder))))
    return 0


def _explainer(args: argparse.Namespace, model: keras.Model, progress: Progress) -> Explainer:
    from tfviz.class_scores import Classifier
    from tfviz.cli.explainers import explainers_for
    from tfviz.cli.plan import method_options

    if "," in args.method or args.method.lower() == "all":
        raise OptionError(
            f"An export contains only one method. Received: --method {args.method}. Export each method to a separate folder."
        )
    options = method_options(args, model)
    (explainer,) = explainers_for(model, [args.method], options, Classifier(model).classes, progress.say)
    return explainer


def _options(args: argparse.Namespace, explainer: Explainer) -> dict[str, Any]:
    """Return the options to pass to the export format.

    Options that were not given are None. The caller drops them, because a format raises an error
    for options that it does not support.
    """
    from tfviz.models import labels_of, preprocessing_of

    fixes_size = args.image_size and None in explainer.graph.inputs[0].shape[1:]
    return {
        "target": None if args.target is None or args.target == "top" else labels_of(explainer.model).index(args.target),
        "include": args.include,
        "overlay": args.overlay or None,
        "image_shape": (*args.image_size, preprocessing_of(explainer.model).channels) if fixes_size else None,
        **dict(args.option),
    }


def _option(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE, and decode the value if it is JSON, such as 8, true or [224, 224, 3]."""
    name, sign, value = text.partition("=")
    if not (name.isidentifier() and sign):
        raise argparse.ArgumentTypeError(f"Expected NAME=VALUE, such as batch_size=8. Received: {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _require_of_format(options: list[tuple[str, Any]]) -> None:
    """Raise OptionError if an option is a parameter of `tfviz.export` itself, such as overwrite."""
    for name, _ in options:
        if name in inspect.signature(export).parameters:
            raise OptionError(
                f"No export format has an option named {name!r}. See `tfviz export --help` for the available options."
            )


def closing_lines(path: Path, manifest: Manifest) -> list[str]:
    """Return the summary lines: folder, size, inputs and outputs, and the next steps."""
    files = [file for file in path.rglob("*") if file.is_file()]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    layer = f" at {manifest.layer}" if manifest.layer else ""
    lines = [f"{shown(path)}: {manifest.method} of {manifest.model}{layer}, {manifest.format}, {megabytes:.1f} MB", ""]
    rows = [("  " + name, _shown(one["inputs"]), "->", _shown(one["outputs"])) for name, one in _signatures(manifest)]
    return [*lines, aligned(rows), "", *_next_steps(path, manifest)]


def _signatures(manifest: Manifest) -> list[tuple[str, dict[str, Any]]]:
    if "signatures" in manifest.extra:
        return list(manifest.extra["signatures"].items())
    return [("explainer", {"inputs": manifest.extra["arguments"], "outputs": manifest.extra["results"]})]


def _shown(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} {_size(one['shape'])}" for one in tensors)


def _size(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def _next_steps(path: Path, manifest: Manifest) -> list[str]:
    steps = [f"In Python: tfviz.load_explainer({str(path)!r}). The preprocessing is described in tfviz.json."]
    if manifest.format == "saved_model":
        steps.append(f"Without tfviz: tf.saved_model.load({str(path)!r}), or saved_model_cli show --dir {shown(path)} --all")
    return steps
