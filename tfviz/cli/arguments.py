"""What may be typed after `tfviz`: the commands, their options, and the help on them.

Nothing heavy is imported here, so that help and wrong usage are answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import tfviz
from tfviz.cli import export, film, watch
from tfviz.cli.options import add_model, add_preprocess, count, listed, new_parser, size

DEFAULT_OUTPUT = "tfviz-output"

_EXAMPLES = """\
examples:
  tfviz explain photos --model vgg16                       a folder, a network of keras.applications
  tfviz explain cat.jpg --model my.keras --preprocess tf   your own network
  tfviz explain photos --model vgg16 --method all --target top2 --output maps
"""
_EXPLAIN = """\
Writes, for every picture, coloured maps of what the network looks at, and OUTPUT/index.html, which shows them all
beside the predicted classes and opens from disk:

  OUTPUT/index.html
  OUTPUT/PICTURE/image.png               the part of the picture that the network sees (at most 1600 pixels a side)
  OUTPUT/PICTURE/METHOD.png              the map, for the top class or a method that takes no target
  OUTPUT/PICTURE/METHOD-281-tabby.png    the map for a class that was asked for, by its number and name
  OUTPUT/PICTURE/METHOD.npy              with --raw: the map itself, float32, neither resized nor scaled: (h, w) at the
                                         layer's resolution, or (height, width, channels) of the network's input

PICTURE is the file's path inside the folder that was given, without its ending (with it, where two would be one).
"""
_EXIT_CODES = """\
exit code: 0 all pictures explained; 1 some picture could not be read or explained (the last lines say which, and why);
2 wrong usage, a missing path and a model that cannot be explained among it; 130 stopped by Ctrl-C (what was made stays).
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The typed arguments; `.module` is the command's module. Exits by SystemExit after help and on wrong usage."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command == "explain" and not any(word.startswith("-") for word in rest):
        args.paths, rest = [*args.paths, *rest], []  # argparse leaves out paths that follow an option
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)} (see `tfviz {args.command} --help`)")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        argparse.ArgumentParser,
        prog="tfviz",
        description="See what a convolutional network looks at.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"tfviz {tfviz.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_explain(new_parser(commands.add_parser, "explain", help="explain pictures", description=_EXPLAIN, epilog=_EXIT_CODES))
    _add_methods(new_parser(commands.add_parser, "methods", help="list the methods", description="Lists the methods."))
    _add_layers(new_parser(commands.add_parser, "layers", help="list a network's layers", description=_LAYERS))
    for command in (export, watch, film):
        command.add_parser(commands)
    return parser


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="tfviz.cli.explain")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="picture files, and folders of them (walked)")
    add_model(parser, weights="imagenet", fetched='"imagenet" (fetched by Keras), the default;')
    add_preprocess(parser)
    parser.add_argument(
        "--method",
        type=listed,
        metavar="A,B,...",
        help="methods, or all that suit the model (see `tfviz methods`); default: grad_cam,guided_backprop",
    )
    parser.add_argument("--layer", metavar="L", help="layer for the methods that take one (see `tfviz layers`)")
    parser.add_argument(
        "--target",
        type=listed,
        default=["top"],
        metavar="T,...",
        help="classes to explain, by number or name; top: the highest (default); top3: the three highest",
    )
    parser.add_argument("--labels", type=Path, metavar="F", help="names of the classes: .txt, one a line, or .json")
    parser.add_argument("--output", type=Path, default=Path(DEFAULT_OUTPUT), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--batch-size", type=count, default=16, metavar="N", help="pictures at a time; default: %(default)s")
    parser.add_argument("--image-size", type=size, metavar="HxW", help="for networks that take pictures of any size")
    parser.add_argument("--raw", action="store_true", help="write the maps as arrays too (.npy)")


def _add_methods(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="tfviz.cli.methods")


_LAYERS = "Lists the layers of a network; * marks the one that the class activation maps choose by themselves."


def _add_layers(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="tfviz.cli.layers")
    add_model(parser, weights="none", fetched="not needed to list layers;")
