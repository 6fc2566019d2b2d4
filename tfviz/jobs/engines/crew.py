"""What an engine works with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crew:
    """The processes of a job.

    Attributes:
        root: the folder of the job.
        workers: the largest number of processes or actors.
        is_retry: whether to explain the failed images of finished shards again.
    """

    root: str
    workers: int
    is_retry: bool = False
