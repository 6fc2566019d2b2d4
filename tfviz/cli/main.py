"""The `tfviz` command: parse, run, and say in one line what went wrong."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from tfviz.cli.arguments import parse
from tfviz.cli.progress import tell
from tfviz.errors import TfvizError

WRONG_USAGE = 2
STOPPED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code (see `tfviz explain --help`).

    What tfviz raises on purpose becomes one line on stderr; anything else keeps its traceback.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a file name that the terminal cannot show is no reason to fail
    try:
        args = parse(argv)
    except SystemExit as stop:  # argparse has said what there is to say
        return stop.code if isinstance(stop.code, int) else 0
    try:
        return int(importlib.import_module(args.module).run(args))
    except TfvizError as error:
        tell(f"tfviz {args.command}: error: {_one_line(error)}", sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        tell("Stopped.", sys.stderr)
        return STOPPED


def _one_line(error: TfvizError) -> str:
    return " ".join(line.strip() for line in str(error).splitlines())
