"""How much a viewer takes, so that neither a mistake nor malice can fill its memory or its disk."""

from __future__ import annotations

from dataclasses import dataclass

from tfviz.runs.schema import MAX_RECORD_BYTES, MAX_RUN_BYTES


@dataclass(frozen=True)
class Limits:
    """The limits of a server, beside those of the schema.

    run_bytes, record_bytes: of the JSON of a run and of a snapshot. runs: that trainers may send.
        readers: pages that
    are told of news at once. records: in one answer. body_timeout_s: for the whole of what is sent.
    upload_bytes: of all that is received at the same time. connections: that are open at the same
    time. header_timeout_s: until the first line and the headers of a request are there.
    """

    run_bytes: int = MAX_RUN_BYTES
    record_bytes: int = MAX_RECORD_BYTES
    runs: int = 1000
    readers: int = 200
    records: int = 5000
    body_timeout_s: float = 60.0
    upload_bytes: int = 256 << 20
    connections: int = 500
    header_timeout_s: float = 10.0
