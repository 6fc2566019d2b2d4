"""`tfviz film`: turn a training run into a film."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tfviz.cli.options import count, listed, new_parser
from tfviz.cli.terminal import Progress, print_line
from tfviz.errors import shown

if TYPE_CHECKING:
    from tfviz.film.film import Film

_ABOUT = """\
Make a film of a run that SnapshotCallback recorded: each image next to its maps, from before
training to the end, with epoch, step, loss, predictions and the loss curve. The run may still be
in progress. A missing picture is replaced by the previous one, darkened and with a marked corner.
"""
_EXAMPLES = """\
examples:
  tfviz film runs/1 --output run.mp4                                   plays in every browser
  tfviz film runs/1 --output run.gif --images 1,4 --width 600          for a README
  tfviz film runs/1 --output run.mp4 --methods grad_cam --seconds 20

needs: pip install av
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(
        subparsers.add_parser, "film", help="make a film of a training run", description=_ABOUT, epilog=_EXAMPLES
    )
    parser.set_defaults(module="tfviz.cli.film")
    parser.add_argument("log_dir", type=Path, metavar="LOG_DIR", help="run folder (the log_dir of a SnapshotCallback)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".mp4, .gif or .webp file to write; an existing file is replaced",
    )
    parser.add_argument(
        "--methods", type=listed, metavar="A,B,...", help="methods to show, in this order; default: all methods in the run"
    )
    parser.add_argument(
        "--images", type=_numbers, metavar="1,2,...", help="images to show, numbered from 1 as on the live page; default: all"
    )
    parser.add_argument(
        "--fps", type=float, metavar="F", help="snapshots per second; default: 2 to 15, for a film of about 15 seconds"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="maximum length of the film in seconds; longer runs are sampled evenly; default: 60",
    )
    length.add_argument(
        "--every",
        type=count,
        metavar="N",
        help="show every Nth snapshot, however long the film becomes; default: as many as fit",
    )
    parser.add_argument(
        "--width", type=count, metavar="W", help="width in pixels; default: 1280 for .mp4, 800 for other formats"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the film and return the exit code."""
    from tfviz.film.film import write_film

    with Progress(0) as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.show(done, "snapshots")

        film = write_film(
            args.log_dir,
            args.output,
            methods=args.methods,
            images=args.images,
            fps=args.fps,
            every=args.every,
            seconds=args.seconds,
            width=args.width,
            progress=show,
        )
    print_line("\n".join(_closing_lines(film)))
    return 0


def _closing_lines(film: Film) -> list[str]:
    height, width = film.size
    pace, megabytes = film.pace, film.path.stat().st_size / 1e6
    lines = [f"{shown(film.path)}: {pace.duration_s:.1f} s, {width}x{height} pixels, {megabytes:.1f} MB."]
    if len(pace.shown) < film.snapshots:
        lines.append(f"The film shows {len(pace.shown)} of {film.snapshots} snapshots. To show all of them, pass --every 1.")
    if film.missing == 1:
        lines.append("1 picture is missing. The previous one is shown instead, darkened and with a marked corner.")
    elif film.missing:
        lines.append(
            f"{film.missing} pictures are missing. The previous ones are shown instead, darkened and with a marked corner."
        )
    return lines


def _numbers(text: str) -> list[int]:
    """Parse 1-based image numbers and return 0-based indices."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"Expected comma-separated numbers, such as 1,3,6. Received: {text!r}.") from error
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"Image numbers start at 1, as on the live page. Received: {text!r}.")
    return [number - 1 for number in numbers]
