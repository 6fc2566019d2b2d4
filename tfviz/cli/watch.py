"""`tfviz watch`: the live page of a folder of runs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from urllib.parse import quote

from tfviz.cli.terminal import tell

_ABOUT = """\
Shows the snapshots of runs in LOG_DIR while they train, and afterwards: maps, a time slider, and
the curves of loss and metrics. It follows the folders that SnapshotCallback writes anywhere in
LOG_DIR. Trainers on other machines send theirs with viewer="http://THIS_MACHINE:PORT"; LOG_DIR
keeps those too.
"""
_EXAMPLES = """\
examples:
  tfviz watch runs                                  this machine only, at http://127.0.0.1:1337/
  tfviz watch runs --host 0.0.0.0 --token SECRET    other machines too; the page asks for the token
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
        help="secret that pages and trainers must send; required for a host that other machines can reach; default: none",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped by Ctrl-C."""
    from tfviz.viewer.server import Viewer

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("tfviz.viewer").setLevel(logging.INFO)
    viewer = Viewer(args.log_dir, host=args.host, port=args.port, token=args.token)
    tell(f"Watching {args.log_dir}: {viewer.address}{_query(args.token)}   (Ctrl-C stops it)")
    viewer.run()
    return 0


def _query(token: str | None) -> str:
    return f"?token={quote(token)}" if token else ""


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return int(text)
