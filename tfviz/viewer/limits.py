"""The limits that keep mistakes and attacks from filling a viewer's memory or disk."""

from __future__ import annotations

from dataclasses import dataclass

from tfviz.runs.schema import MAX_RECORD_BYTES, MAX_RUN_BYTES


@dataclass(frozen=True)
class ServerLimits:
    """The limits that apply to every page's server.

    Attributes:
        body_timeout_s: the time limit for a request body.
        upload_bytes: the maximum total body size of all requests in progress.
        connections: the maximum number of open connections.
        header_timeout_s: the time limit for a request's first line and headers.
    """

    body_timeout_s: float = 60.0
    upload_bytes: int = 256 << 20
    connections: int = 500
    header_timeout_s: float = 10.0


@dataclass(frozen=True)
class Limits(ServerLimits):
    """The limits that the live page enforces in addition to those of the schema.

    Attributes:
        run_bytes: the maximum size of a run's JSON.
        record_bytes: the maximum size of a snapshot's JSON.
        runs: the maximum number of runs that other machines may send.
        readers: the maximum number of pages that receive news at the same time.
        records: the maximum number of records in one response.
    """

    run_bytes: int = MAX_RUN_BYTES
    record_bytes: int = MAX_RECORD_BYTES
    runs: int = 1000
    readers: int = 200
    records: int = 5000
