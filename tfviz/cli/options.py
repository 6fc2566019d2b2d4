"""Options that several commands share, and parsers for option values."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from tfviz.errors import escaped, near_matches


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that suggests similar options for unknown ones.

    It escapes control characters in error messages, which quote user input.
    """

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse the arguments, but report unknown options before missing arguments."""
        words = list(sys.argv[1:] if args is None else args)
        if unknown := self._unknown_options(words):
            known = [name for name in self._option_string_actions if name.startswith("--")]
            hints = [f"Unknown option '{name}'. {near_matches(name, known)}" for name in unknown]
            self.error(f"{' '.join(hints)} See `{self.prog} --help`.")
        return super().parse_known_args(words, namespace)

    def _unknown_options(self, words: Sequence[str]) -> list[str]:
        if self._subparsers is not None:  # The command parses the words after its name.
            words = list(takewhile(lambda word: word.startswith("-"), words))
        options = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", words)]
        # argparse treats negative numbers and words with spaces as values.
        return [name for name in options if re.fullmatch(r"--?[A-Za-z]\S*", name) and name not in self._option_string_actions]

    def error(self, message: str) -> NoReturn:
        """Print the usage and the escaped message, and exit."""
        super().error(escaped(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        # Before Python 3.12, argparse raises an error if the message cannot be written.
        with suppress(OSError):
            super()._print_message(message, file)


def new_parser(make: Callable[..., argparse.ArgumentParser], *names: str, **options: Any) -> argparse.ArgumentParser:
    """Create a parser with the settings that all commands share."""
    # Abbreviated options are not allowed, because a script that uses one would break once a new
    # option starts with the same letters.
    return make(*names, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def add_model(parser: argparse.ArgumentParser, weights: str, choices: str) -> None:
    """Add --model and --weights.

    Args:
        parser: the command's parser.
        weights: the default value of --weights.
        choices: the start of the help text for --weights.
    """
    parser.add_argument(
        "--model",
        default="shapes",
        metavar="M",
        help='name of a keras.applications network such as "resnet50", or a .keras or .h5 file; default: the small network '
        "that ships with tfviz",
    )
    parser.add_argument(
        "--weights",
        default=weights,
        metavar="W",
        help=f"{choices} none (random), or a .weights.h5, .h5, .keras, .npy, .pth or .safetensors file; default: %(default)s",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that load a network and prepare images for it."""
    add_model(parser, weights="imagenet", choices='"imagenet" (downloaded by Keras),')
    parser.add_argument(
        "--preprocess",
        metavar="MODE",
        help="preprocessing for a model file: tf, torch, caffe (as in keras.applications), unit (0..1), none (0..255), or a "
        "JSON file; default: the network's own preprocessing, if it is known",
    )
    parser.add_argument(
        "--image-size",
        type=size,
        metavar="HxW",
        help="input size, for networks that accept any size; default: the network's own",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="F",
        help="file with class names (.txt, one per line, or .json); default: the model's own",
    )
    parser.add_argument(
        "--backgrounds",
        type=Path,
        metavar="PATH",
        help="folder with at least 8 typical images to use as baselines for expected_gradients; default: none",
    )


def add_layer(parser: argparse.ArgumentParser) -> None:
    """Add --layer."""
    parser.add_argument(
        "--layer", metavar="L", help="layer for methods that accept one (see `tfviz layers`); default: automatic"
    )


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Add --target, which accepts several classes."""
    parser.add_argument(
        "--target",
        type=listed,
        default=["top"],
        metavar="T,...",
        help="classes to explain, by number or name; top: the top class; top3: the top three; default: top",
    )


def add_server(parser: argparse.ArgumentParser, port: int, clients: str) -> None:
    """Add --host, --port and --token.

    Args:
        parser: the command's parser.
        port: the default port.
        clients: the clients that send the token, for the help text.
    """
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on; default: %(default)s")
    parser.add_argument(
        "--port",
        type=port_number,
        default=port,
        metavar="P",
        help="port to listen on; 0 selects any free port; default: %(default)s",
    )
    parser.add_argument(
        "--token",
        metavar="T",
        help=f"secret that {clients} must send; at least 16 characters; required if other machines can reach the host; "
        "default: the environment variable TFVIZ_TOKEN",
    )


def token_of(args: argparse.Namespace) -> str | None:
    """Return the token from --token or the environment variable TFVIZ_TOKEN, or None."""
    return args.token if args.token is not None else os.environ.get("TFVIZ_TOKEN") or None


def port_number(text: str) -> int:
    """Parse a port number."""
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"Expected a port number from 0 to 65535. Received: {text!r}.")
    return int(text)


def listed(text: str) -> list[str]:
    """Parse names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"Expected comma-separated names. Received: {text!r}.")
    return names


def count(text: str) -> int:
    """Parse a positive integer."""
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"Expected a positive integer. Received: {text!r}.")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Parse a height and width in pixels, such as 224x224."""
    sides = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if sides is None or 0 in (size := (int(sides[1]), int(sides[2]))):
        raise argparse.ArgumentTypeError(f"Expected HEIGHTxWIDTH in pixels, such as 224x224. Received: {text!r}.")
    return size


def whole_number(text: str) -> int:
    """Parse a nonnegative integer."""
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"Expected a non-negative integer. Received: {text!r}.")
    return int(text)
