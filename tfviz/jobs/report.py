"""Report a job's progress: the status while it runs, and the report at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import tfviz
from tfviz.errors import OutputError
from tfviz.jobs.attempts import FOLDER as ATTEMPTS
from tfviz.jobs.plan import INPUTS, REPORT_FILE, SHARDS, SUCCESS_FILE, JobPlan, done_shards, part_file
from tfviz.jobs.schema import arrow
from tfviz.jobs.storage import Storage
from tfviz.row_columns import FAILED

_MOST_ERRORS = 100


@dataclass(frozen=True)
class Status:
    """A job's progress.

    Attributes:
        images, shards: the numbers of images and shards in the job.
        shards_done: the number of finished shards.
        rows: the number of rows in the finished shards.
        failed: the number of images that failed.
        errors: the first errors, as (path, error) pairs.
        attempts: the number of attempts at unfinished shards.
        tfviz: the tfviz version.
    """

    images: int
    shards: int
    shards_done: int
    rows: int
    failed: int
    errors: list[tuple[str, str]]
    attempts: int
    tfviz: str

    @property
    def is_done(self) -> bool:
        return self.shards_done == self.shards


def status_of(storage: Storage, plan: JobPlan) -> Status:
    """Read a job's progress from its files."""
    done = {number for number in done_shards(storage) if number < len(plan.shards())}
    rows, errors = 0, []
    for number in sorted(done):
        count, failures = _summary(storage, number)
        rows += count
        errors += failures
    attempts = len(storage.names(ATTEMPTS))
    return Status(
        plan.count, len(plan.shards()), len(done), rows, len(errors), errors[:_MOST_ERRORS], attempts, tfviz.__version__
    )


def failed_shards(storage: Storage, plan: JobPlan) -> Iterator[int]:
    """Yield the numbers of finished shards that contain failed images."""
    for number in sorted(done_shards(storage)):
        if number < len(plan.shards()) and _summary(storage, number)[1]:
            yield number


def write_report(storage: Storage, status: Status) -> None:
    """Write report.json. If every shard is done, write _SUCCESS and remove leftover files."""
    if status.is_done:
        status = replace(status, attempts=0)
        for name in storage.names(ATTEMPTS):
            storage.remove(f"{ATTEMPTS}/{name}")
        for folder in ("", INPUTS, SHARDS, ATTEMPTS):
            storage.remove_unfinished(folder)
    try:
        _write(storage, status)
    except OutputError:
        # Try again, because another command that ended at the same time may have removed this
        # command's temporary file.
        _write(storage, status)


def _write(storage: Storage, status: Status) -> None:
    storage.write(REPORT_FILE, json.dumps(asdict(status), indent=2) + "\n")
    if status.is_done:
        storage.write(SUCCESS_FILE, "")


def _summary(storage: Storage, number: int) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of rows in a shard, and its errors as (path, error) pairs."""
    pa = arrow()
    table = pa.parquet.read_table(pa.BufferReader(storage.read(part_file(number))), columns=["path", "status", "error"])
    failed = [(row["path"], row["error"]) for row in table.to_pylist() if row["status"] == FAILED]
    return len(table), failed
