"""`tfviz watch`: serve the live page for a folder of runs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tfviz.cli.options import add_server, new_parser, token_of
from tfviz.cli.terminal import print_line
from tfviz.errors import shown

_ABOUT = """\
Show the snapshots of the runs in LOG_DIR, during training and afterwards: maps, a time slider, and
loss and metric curves. A SnapshotCallback may write its folder anywhere inside LOG_DIR. On other
machines, pass viewer="http://THIS_MACHINE:PORT" to SnapshotCallback to send the snapshots here.
They are also stored in LOG_DIR.
"""
_EXAMPLES = """\
examples:
  tfviz watch runs                                     this machine only, at http://127.0.0.1:1337/
  TFVIZ_TOKEN=SECRET tfviz watch runs --host 0.0.0.0   other machines too; enter SECRET on the page

Prefer the environment variable TFVIZ_TOKEN to --token, which every user of this machine can see in
the process list. Enter the token on the page. A link that ends in ?token=SECRET also works, but
it remains in the browser's history and wherever you paste it.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(
        subparsers.add_parser, "watch", help="show training runs in the browser", description=_ABOUT, epilog=_EXAMPLES
    )
    parser.set_defaults(module="tfviz.cli.watch")
    parser.add_argument("log_dir", type=Path, metavar="LOG_DIR", help="folder with one or more runs; it need not exist yet")
    add_server(parser, port=1337, clients="pages and training runs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve the page until the user presses Ctrl-C."""
    from tfviz.viewer.server import Viewer

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("tfviz.viewer").setLevel(logging.INFO)
    token = token_of(args)
    viewer = Viewer(args.log_dir, host=args.host, port=args.port, token=token)
    remark = "enter the token on the page; press Ctrl-C to stop" if token else "press Ctrl-C to stop"
    print_line(f"Watching {shown(args.log_dir)}: {viewer.address}   ({remark})")
    viewer.run()
    return 0
