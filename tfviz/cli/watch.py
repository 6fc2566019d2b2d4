"""`tfviz watch`: the live page of a folder of runs."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from tfviz.cli.terminal import tell
from tfviz.errors import shown

_ABOUT = """\
Shows the snapshots of runs in LOG_DIR while they train, and afterwards: pictures, a time slider, and the curves of loss
and metrics. It follows the folders that SnapshotCallback writes, wherever they are in LOG_DIR, and receives what
trainers on other machines send with viewer="http://THIS_MACHINE:PORT", which it keeps in LOG_DIR too.
"""
_EXAMPLES = """\
examples:
  tfviz watch runs                                         on this machine, at http://127.0.0.1:1337/
  TFVIZ_TOKEN=SECRET tfviz watch runs --host 0.0.0.0       for other machines too: the page asks for the token

The environment variable TFVIZ_TOKEN is better than --token, which every user of this machine sees in the list of processes
and your shell keeps. Let the page ask for the token: a link that ends in ?token=SECRET opens it too, but stays in the
browser's history and wherever it is pasted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds the command to those of `tfviz`."""
    parser = subparsers.add_parser(
        "watch",
        help="show training runs live",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(module="tfviz.cli.watch")
    parser.add_argument("log_dir", type=Path, metavar="LOG_DIR", help="folder of a run, or of many; it may come later")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=_port, default=1337, metavar="P", help="0: any free one; default: %(default)s")
    parser.add_argument(
        "--token",
        metavar="T",
        help="what pages and trainers must bring; needed, and at least 16 characters long, for a host that other machines can "
        "reach; default: the environment variable TFVIZ_TOKEN",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped by Ctrl-C."""
    from tfviz.viewer.server import Viewer

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("tfviz.viewer").setLevel(logging.INFO)
    token = args.token if args.token is not None else os.environ.get("TFVIZ_TOKEN") or None
    viewer = Viewer(args.log_dir, host=args.host, port=args.port, token=token)
    remark = "the page asks for the token; Ctrl-C stops it" if token else "Ctrl-C stops it"
    tell(f"Watching {shown(args.log_dir)}: {viewer.address}   ({remark})")
    viewer.run()
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return int(text)
