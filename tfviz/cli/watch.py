"""`tfviz watch`: the live page of a folder of runs."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from tfviz.cli.terminal import tell
from tfviz.errors import shown

_ABOUT = """\
Shows the snapshots of runs in LOG_DIR while they train, and afterwards: maps, a time slider, and
the curves of loss and metrics. It follows the folders that SnapshotCallback writes anywhere in
LOG_DIR. Trainers on other machines send theirs with viewer="http://THIS_MACHINE:PORT"; LOG_DIR
keeps those too.
"""
_EXAMPLES = """\
examples:
  tfviz watch runs                                     this machine only, at http://127.0.0.1:1337/
  TFVIZ_TOKEN=SECRET tfviz watch runs --host 0.0.0.0   other machines too; the page asks for the token

Prefer the environment variable TFVIZ_TOKEN to --token, which every user of this machine can see in
the list of processes. Let the page ask for the token: a link that ends in ?token=SECRET works too,
but it stays in the browser's history and wherever it is pasted.
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
        help="secret that pages and trainers must send, required for a host that other machines can reach, at least 16 "
        "characters there; default: the environment variable TFVIZ_TOKEN",
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
