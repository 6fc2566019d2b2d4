"""Read and write a job's plan: the arguments, the images and the shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tfviz.errors import JobError, shown
from tfviz.jobs.inputs import Input
from tfviz.jobs.schema import arrow, input_schema
from tfviz.jobs.storage import Storage

JOB_FILE, SUCCESS_FILE, REPORT_FILE = "job.json", "_SUCCESS", "report.json"
SHARDS, INPUTS = "shards", "inputs"
_FORMAT = 1


@dataclass(frozen=True)
class InputPart:
    """The images added by one command.

    Attributes:
        file: the table that lists the images.
        count: the number of images.
        sha256: the digest of the table's rows.
    """

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class JobPlan:
    """The content of job.json.

    Attributes:
        run: the arguments that a worker needs to build the explainers.
        fingerprint: the settings that determine the results. Two commands can work on the same job
            only if their fingerprints are equal.
        shard_size: the number of images per shard.
        parts: the images, with one part per command that added images.
    """

    run: dict[str, Any]
    fingerprint: dict[str, Any]
    shard_size: int
    parts: list[InputPart] = field(default_factory=list)

    def shards(self) -> list[tuple[InputPart, int]]:
        """Return the input part and the row group that contain the images of each shard."""
        return [(part, group) for part in self.parts for group in range(-(-part.count // self.shard_size))]

    @property
    def count(self) -> int:
        """The number of images."""
        return sum(part.count for part in self.parts)

    def with_inputs(self, storage: Storage, inputs: Sequence[Input]) -> JobPlan:
        """Write a table of the new images and return a plan that includes them."""
        pa = arrow()
        name = f"{INPUTS}/{len(self.parts):03d}.parquet"
        columns = {key: [getattr(one, key) for one in inputs] for key in Input._fields}
        content = pa.BufferOutputStream()
        with pa.parquet.ParquetWriter(content, input_schema()) as writer:
            writer.write_table(pa.table(columns, schema=input_schema()), row_group_size=self.shard_size)
        storage.write(name, content.getvalue().to_pybytes())
        part = InputPart(name, len(inputs), _digest(inputs))
        return JobPlan(self.run, self.fingerprint, self.shard_size, [*self.parts, part])

    def write(self, storage: Storage) -> None:
        """Write job.json."""
        content = asdict(self) | {"format": _FORMAT}
        storage.write(JOB_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_plan(storage: Storage) -> JobPlan | None:
    """Return a job folder's plan, or None if there is none.

    Raises:
        JobError: job.json is damaged or was written by another version.
    """
    try:
        content = json.loads(storage.read(JOB_FILE))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JobError(f"{shown(storage.root)}/{JOB_FILE} is damaged ({error}). Choose another --output.") from error
    try:
        if content.pop("format") != _FORMAT:
            raise JobError(
                f"{shown(storage.root)}/{JOB_FILE} was written by another version of tfviz. Choose another --output."
            )
        parts = [InputPart(**part) for part in content.pop("parts")]
        return JobPlan(parts=parts, **content)
    except (KeyError, TypeError, AttributeError) as error:
        raise JobError(f"{shown(storage.root)}/{JOB_FILE} is damaged ({error}). Choose another --output.") from error


def inputs_of_shard(storage: Storage, plan: JobPlan, number: int) -> list[Input]:
    """Return a shard's images."""
    pa = arrow()
    part, group = plan.shards()[number]
    with storage.open(part.file) as file:  # The table may list millions of images.
        table = pa.parquet.ParquetFile(file).read_row_group(group)
    return [Input(**row) for row in table.to_pylist()]


def known_paths(storage: Storage, plan: JobPlan) -> set[str]:
    """Return the paths of all images in the job."""
    pa = arrow()
    tables = (pa.parquet.read_table(pa.BufferReader(storage.read(part.file)), columns=["path"]) for part in plan.parts)
    return {path for table in tables for path in table.column("path").to_pylist()}


def require_same(old: dict[str, Any], new: dict[str, Any], folder: str) -> None:
    """Raise a JobError that lists the differences if two fingerprints differ."""
    differences = list(_differences(old, new))
    if differences:
        raise JobError(
            f"{shown(folder)} contains a job with different options: {'; '.join(differences[:5])}. Use that job's options, or "
            "choose another --output."
        )


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if json.loads(json.dumps(new.get(key))) != old.get(key):
            yield f"{key} was {_short(old.get(key))} and is now {_short(new.get(key))}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _digest(inputs: Sequence[Input]) -> str:
    digest = hashlib.sha256()
    for one in inputs:
        digest.update(json.dumps(list(one)).encode())
    return digest.hexdigest()


def part_file(number: int) -> str:
    """Return the name of a shard's result file."""
    return f"{SHARDS}/part-{number:06d}.parquet"


def done_shards(storage: Storage) -> set[int]:
    """Return the numbers of all finished shards."""
    names = storage.names(SHARDS)
    return {
        int(name[5:-8]) for name in names if name.startswith("part-") and name.endswith(".parquet") and name[5:-8].isdigit()
    }
