"""What the commands' options have in common: how they are declared, and how their words are read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

from tfviz.errors import escaped


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat what was typed and what a shell found, cannot change the terminal."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse: prints the message and the usage, and exits."""
        super().error(escaped(message))


def new_parser(make: Callable[..., argparse.ArgumentParser], *names: str, **options: Any) -> argparse.ArgumentParser:
    """A parser in the style of all commands."""
    # No abbreviations: a script that uses one breaks when a later option begins alike.
    return make(*names, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def add_model(parser: argparse.ArgumentParser, weights: str, fetched: str) -> None:
    """--model and --weights. weights: their default; fetched: what the help says of it first."""
    parser.add_argument(
        "--model",
        default="shapes",
        metavar="M",
        help='a name of keras.applications such as "resnet50", or a .keras or .h5 file; default: the small network of '
        "shapes that comes with tfviz",
    )
    parser.add_argument(
        "--weights",
        default=weights,
        metavar="W",
        help=f"{fetched} a .weights.h5, .h5, .keras, .npy, .pth or .safetensors file; none: random; default: %(default)s",
    )


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """--preprocess."""
    parser.add_argument(
        "--preprocess",
        metavar="MODE",
        help="preprocessing for a model file: tf, torch, caffe (as in keras.applications), unit (0..1), none "
        "(0..255), or a JSON file; default: the network's own, if it is known by name",
    )


def listed(text: str) -> list[str]:
    """Words with commas between them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names


def count(text: str) -> int:
    """A whole number, 1 at least."""
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 at least, got {text!r}")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Height and width in pixels, such as 224x224."""
    sides = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if sides is None or 0 in (size := (int(sides[1]), int(sides[2]))):
        raise argparse.ArgumentTypeError(f"expected height x width in pixels, such as 224x224, got {text!r}")
    return size
