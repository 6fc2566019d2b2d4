"""Run one shard and write its result file. Every engine uses this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfviz.errors import JobError, OutputError, shown
from tfviz.jobs.attempts import end_attempts, start_attempt, table_by_halves
from tfviz.jobs.inputs import Input
from tfviz.jobs.plan import JOB_FILE, inputs_of_shard, part_file, read_plan
from tfviz.jobs.schema import arrow, parquet_of
from tfviz.jobs.shard_work import ShardWorker
from tfviz.jobs.storage import Storage
from tfviz.row_columns import FAILED

if TYPE_CHECKING:
    import pyarrow as pa


class ExplainShard:
    """Explains the shards of one job. The model is loaded only once.

    Args:
        root: the job folder.
        is_retry: whether to retry images that failed in finished shards.
    """

    def __init__(self, root: str, is_retry: bool = False) -> None:
        self._storage, self._is_retry = Storage(root), is_retry
        plan = read_plan(self._storage)
        if plan is None:
            raise JobError(f"{root} contains no job. Start one with `tfviz job`.")
        self._plan = plan
        self._worker = ShardWorker(plan.run)

    def __call__(self, number: int) -> int:
        """Explain a shard's images and return the number of images."""
        self._require_job()
        name, inputs = part_file(number), inputs_of_shard(self._storage, self._plan, number)
        known = self._known(name) if self._storage.exists(name) else None
        if known is not None and not self._is_retry:
            return len(inputs)
        wanted = inputs if known is None else [one for one in inputs if one.path in _failed(known)]
        is_suspect = start_attempt(self._storage, number)
        table = table_by_halves(self._plan.run, wanted) if is_suspect else self._worker.table(wanted)
        self._require_job()
        self._write(name, table if known is None else _merged(known, table, inputs))
        end_attempts(self._storage, number)
        return len(inputs)

    def _require_job(self) -> None:
        """Raise JobError if the job folder was removed, because writing would recreate it."""
        if not self._storage.exists(JOB_FILE):
            raise JobError(
                f"{shown(self._storage.root)} was removed during the job. Run the command again, and keep the folder until the "
                "job is done."
            )

    def _known(self, name: str) -> pa.Table:
        pa = arrow()
        return pa.parquet.read_table(pa.BufferReader(self._storage.read(name)))

    def _write(self, name: str, table: pa.Table) -> None:
        try:
            self._storage.write(name, parquet_of([table], table.schema))
        except OutputError:
            # If the file exists, another process has finished the shard.
            if self._is_retry or not self._storage.exists(name):
                raise


def _failed(table: pa.Table) -> set[str]:
    pairs = zip(table.column("path").to_pylist(), table.column("status").to_pylist(), strict=True)
    return {path for path, status in pairs if status == FAILED}


def _merged(old: pa.Table, new: pa.Table, inputs: list[Input]) -> pa.Table:
    """Replace old rows with new rows for the same images, and return all rows in input order."""
    pa = arrow()
    replaced = set(new.column("path").to_pylist())
    kept = old.filter(pa.array([path not in replaced for path in old.column("path").to_pylist()]))
    table = pa.concat_tables([kept, new])
    place = {one.path: i for i, one in enumerate(inputs)}
    order = sorted(range(len(table)), key=lambda row: place[table.column("path")[row].as_py()])
    return table.take(order)
