"""How much a viewer takes, so that neither a mistake nor malice can fill its memory or its disk."""

from __future__ import annotations

from dataclasses import dataclass

MAX_IMAGES = 256  # of a run
MAX_METHODS = 64  # of a run
MAX_SNAPSHOTS = 1_000_000  # of a run
MAX_SIDE_PX = 4096
MAX_LABELS = 100_000
MAX_LOGS = 200  # metrics of a snapshot
MAX_TEXT = 500  # characters of a name
MAX_ERROR_TEXT = 20_000  # characters


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    run_bytes, record_bytes: of the JSON of a run and of a snapshot. runs: that trainers may send. readers: pages that
    are told of news at once. records: in one answer. body_timeout_s: for the whole of what is sent.
    """

    run_bytes: int = 8 << 20
    record_bytes: int = 1 << 20
    runs: int = 1000
    readers: int = 200
    records: int = 5000
    body_timeout_s: float = 60.0
