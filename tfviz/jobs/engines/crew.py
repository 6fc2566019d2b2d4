"""The settings needed by every engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crew:
    """The settings for a job's workers.

    Attributes:
        root: the job folder.
        workers: the maximum number of processes or actors.
        is_retry: whether to retry images that failed in finished shards.
    """

    root: str
    workers: int
    is_retry: bool = False
