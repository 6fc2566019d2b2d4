"""Store the finished parts of a `tfviz evaluate` run in memory and in the output folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tfviz.cli.run_store import Record, RunStore


class ScoreStore(RunStore):
    """The finished parts of an evaluation, kept in memory and on disk.

    Attributes:
        finished: the records of the finished parts, in the order they were added.
    """

    def __init__(self, output: Path, arguments: Mapping[str, str], *, overwrite: bool) -> None:
        """Open the folder, or create it (see `RunStore`)."""
        super().__init__(output, "evaluation", arguments, overwrite=overwrite)
        self.finished = list(self.records())

    def add(self, record: Record) -> None:
        """Append the record of a finished part (see `RunStore.add`)."""
        super().add(record)
        self.finished.append(record)

    def of_kind(self, kind: str) -> Iterator[Record]:
        """Yield the records of one kind: "image", "sanity" or "note"."""
        return (record for record in self.finished if record["kind"] == kind)
