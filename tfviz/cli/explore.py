"""`tfviz explore`: serve a web page for explaining images with one model."""

from __future__ import annotations

import argparse
import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tfviz.cli.options import add_network, add_server, new_parser, token_of
from tfviz.cli.terminal import import_tensorflow, print_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfviz.explorer.server import Explorer
    from tfviz.images.folders import FoundImage

_ABOUT = """\
Explain images in the browser. Drop an image on the page, or choose one from PATH, and click a
class, a layer or a method. The page compares two settings side by side and shows the Python code
for each map.
"""
_EXAMPLES = """\
examples:
  tfviz explore photos --model resnet50              this machine only, at http://127.0.0.1:1338/
  tfviz explore --model my.keras --preprocess unit   your own network; drop images on the page
  TFVIZ_TOKEN=SECRET tfviz explore --host 0.0.0.0    other machines too; enter SECRET on the page
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(
        subparsers.add_parser, "explore", help="explain images in the browser", description=_ABOUT, epilog=_EXAMPLES
    )
    parser.set_defaults(module="tfviz.cli.explore")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="image files, or folders to search for them")
    add_network(parser)
    add_server(parser, port=1338, clients="pages")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve the page until the user presses Ctrl-C."""
    from tfviz.images.folders import find_images

    found = find_images(args.paths) if args.paths else []
    token = token_of(args)
    import_tensorflow()
    from tfviz.explorer.server import Explorer

    Explorer.require_usable(token, args.host)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    explorer = _explorer(args, found, token)
    # This excludes TensorFlow's objects from garbage collection. Visiting all of them would delay a
    # map by up to 0.7 s.
    gc.freeze()
    remark = "enter the token on the page; press Ctrl-C to stop" if token else "press Ctrl-C to stop"
    print_line(f"Exploring {explorer.session.name}: {explorer.address}   ({remark})")
    explorer.run()
    return 0


def _explorer(args: argparse.Namespace, found: Sequence[FoundImage], token: str | None) -> Explorer:
    from tfviz.cli.plan import background_files, load, load_backgrounds
    from tfviz.explorer.python_lines import ModelCode
    from tfviz.explorer.server import Explorer
    from tfviz.models import preprocessing_of

    model = load(args.model, args.weights, preprocessing=args.preprocess, labels=args.labels, size=args.image_size)
    backgrounds = None if args.backgrounds is None else load_backgrounds(args.backgrounds, preprocessing_of(model))
    return Explorer(
        model,
        found,
        name=Path(args.model).name,
        code=ModelCode(_load_code(args), None if backgrounds is None else _images_code(background_files(args.backgrounds))),
        backgrounds=backgrounds,
        host=args.host,
        port=args.port,
        token=token,
    )


def _load_code(args: argparse.Namespace) -> str:
    """Return a Python expression that loads the same model as the command."""
    weights = None if args.weights.lower() == "none" else args.weights
    given = {
        "weights": weights if weights != "imagenet" else ...,
        "preprocessing": args.preprocess or ...,
        "labels": ... if args.labels is None else str(args.labels),
        "size": args.image_size or ...,
    }
    options = [f"{name}={value!r}" for name, value in given.items() if value is not ...]
    return f"tfviz.load_model({', '.join([repr(args.model), *options])})"


def _images_code(files: Sequence[Path]) -> str:
    return f"tfviz.load_images({[str(one) for one in files]!r}, model)"
