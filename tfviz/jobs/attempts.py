"""Handle shards that kill their process, and find the responsible images after three attempts.

Each attempt leaves a file until its shard is done, so attempts are counted across processes,
machines and restarts. From the fourth attempt on, the shard runs in separate processes. If such a
process dies, its images are split in half repeatedly until a single image is left. That image gets
a row with the error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfviz.jobs.inputs import Input
from tfviz.jobs.schema import arrow, result_schema
from tfviz.jobs.storage import Storage
from tfviz.row_columns import FAILED

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "attempts"
_MOST = 3


def attempts_at(storage: Storage, number: int) -> list[str]:
    """Return the names of the files that record attempts at a shard."""
    return [name for name in storage.names(FOLDER) if name.startswith(f"{number:06d}-")]


def start_attempt(storage: Storage, number: int) -> bool:
    """Record an attempt at a shard, and return whether there were at least three before it."""
    earlier = len(attempts_at(storage, number))
    storage.write(f"{FOLDER}/{number:06d}-{earlier + 1}", "")
    return earlier >= _MOST


def end_attempts(storage: Storage, number: int) -> None:
    """Remove a finished shard's attempt files."""
    for name in attempts_at(storage, number):
        storage.remove(f"{FOLDER}/{name}")


def table_by_halves(run: dict[str, Any], inputs: Sequence[Input]) -> pa.Table:
    """Explain images in separate processes, and find the images that kill their process.

    Args:
        run: the job's arguments.
        inputs: the images.
    """
    return arrow().concat_tables(_parts(run, inputs))


def _parts(run: dict[str, Any], inputs: Sequence[Input]) -> Iterator[pa.Table]:
    table, code = _in_another_process(run, inputs)
    if table is not None:
        yield table
    elif len(inputs) == 1:
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        error = f"The process died while explaining this image ({end}). Check the file, or omit it."
        row = {"path": inputs[0].path, "status": FAILED, "error": error}
        yield arrow().Table.from_pylist([row], schema=result_schema())
    else:
        middle = len(inputs) // 2
        yield from _parts(run, inputs[:middle])
        yield from _parts(run, inputs[middle:])


def _in_another_process(run: dict[str, Any], inputs: Sequence[Input]) -> tuple[pa.Table | None, int]:
    """Explain images in a new process. Return the results and 0, or None and the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.parquet")
        order = json.dumps({"run": run, "inputs": inputs, "file": str(file)})
        code = subprocess.run([sys.executable, "-m", "tfviz.jobs.attempts"], input=order, text=True, check=False).returncode
        return (arrow().parquet.read_table(file), 0) if code == 0 else (None, code)


def _main() -> None:
    from tfviz.cli.terminal import import_tensorflow
    from tfviz.jobs.shard_work import ShardWorker

    import_tensorflow()
    order = json.load(sys.stdin)
    table = ShardWorker(order["run"]).table([Input(*one) for one in order["inputs"]])
    arrow().parquet.write_table(table, order["file"])


if __name__ == "__main__":
    _main()
