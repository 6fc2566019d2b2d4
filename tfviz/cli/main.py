"""The `tfviz` command: parse the arguments, run the command and print expected errors as one line.

Neither this module nor the commands' modules import slow packages at the top, so `--help` and usage
errors appear at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import tfviz
from tfviz.cli import evaluate, explain, explore, export, film, job, layers, methods, render, watch
from tfviz.cli.options import Parser, new_parser
from tfviz.cli.signals import exit_code, stopping_on_signals
from tfviz.cli.terminal import flush_standard_streams, open_standard_streams, print_line, warnings_as_notes
from tfviz.errors import TfvizError

WRONG_USAGE = 2

_EXAMPLES = """\
examples:
  tfviz explain photos --model vgg16                       a folder, a keras.applications network
  tfviz explain cat.jpg --model my.keras --preprocess tf   your own network
  tfviz explain photos --model vgg16 --method all --target top2 --output maps
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `tfviz explain --help`).

    A TfvizError is printed as one line on stderr. Other errors are raised.

    Args:
        argv: the arguments, without the program name. None means sys.argv[1:].

    Returns:
        The exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    open_standard_streams()
    try:
        args = _parse(argv)
        with stopping_on_signals(), warnings_as_notes(lambda line: print_line(line, sys.stderr)):
            return int(importlib.import_module(args.module).run(args))
    except SystemExit as stop:  # argparse has already printed the reason.
        return stop.code if isinstance(stop.code, int) else 0
    except TfvizError as error:
        print_line(f"tfviz {args.command}: error: {_one_line(error)}", sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt as stop:
        print_line("Stopped.", sys.stderr)
        return exit_code(stop)
    finally:
        flush_standard_streams()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments. Their `module` attribute names the command's module.

    Raises:
        SystemExit: the help or the version was printed, or the usage is wrong.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command in ("explain", "evaluate", "explore") and not any(word.startswith("-") for word in rest):
        # argparse does not accept paths after an option.
        args.paths, rest = [*args.paths, *rest], []
    if rest:
        parser.error(f"Unknown arguments: {' '.join(rest)}. See `tfviz {args.command} --help`.")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        Parser,
        prog="tfviz",
        description="Show what a neural network looks at in an image.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"tfviz {tfviz.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (explain, job, render, evaluate, methods, layers, export, explore, watch, film):
        command.add_parser(commands)
    return parser


def _one_line(error: TfvizError) -> str:
    return " ".join(line.strip() for line in str(error).splitlines())
