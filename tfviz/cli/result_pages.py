"""Write the `tfviz explain` page, table and summary from the stored records."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tfviz.atomic_files import write_atomically
from tfviz.cli.results import Results, files_of
from tfviz.cli.run_store import Record
from tfviz.errors import shown
from tfviz.render import GalleryEntry, GalleryFailure, GalleryMap, title_of, write_gallery
from tfviz.row_columns import Row, with_all_columns
from tfviz.tables import TABLES

TABLE = "predictions"
_MOST_TIME_SHARE = 0.05


class ResultPages:
    """Keeps the page and the table up to date with the finished images.

    Args:
        results: the run's results.
        table: the table format, a key of `TABLES`.
    """

    def __init__(self, results: Results, table: str) -> None:
        self._results, self._table = results, table
        self._next_s = 0.0

    def refresh(self) -> None:
        """Write the page and the table, unless that would take more than 5% of the run time."""
        if (start := time.monotonic()) >= self._next_s:
            self.write()
            now = time.monotonic()
            self._next_s = now + (now - start) / _MOST_TIME_SHARE

    def write(self) -> Path | None:
        """Write the page and the table.

        Returns:
            The path of the page, or of the table if no pictures are drawn. None if there is nothing
            to show; any older page is then kept.
        """
        results = self._results
        if results.is_empty:
            return None
        listing = _Listing(results.plan.classifier.kind)
        table = results.folder / f"{TABLE}.{self._table}"
        self._write_table(table, listing.add if results.has_pictures else None)
        for other in (table.with_suffix(f".{name}") for name in TABLES if name != self._table):
            if other.exists():  # An earlier run wrote it.
                self._write_table(other)
        return self._write_page(listing) if results.has_pictures else table

    def _write_table(self, path: Path, see: Callable[[Record], None] | None = None) -> None:
        content = TABLES[path.suffix[1:]](self._rows(see))
        self._results.store.require_present()  # Writing would recreate a removed folder.
        write_atomically(path, content)

    def _rows(self, see: Callable[[Record], None] | None = None) -> Iterator[Row]:
        """Yield the table's rows, skipping images whose results were removed.

        Args:
            see: a function that is called with each image's record, so that the page needs no
                second pass over the records.
        """
        for record in self._results.records():
            if record["image"].get("error") or all((self._results.folder / file).is_file() for file in files_of(record)):
                if see is not None:
                    see(record)
                for one in record["maps"] or [{}]:
                    yield with_all_columns({**record["image"], **one})

    def _write_page(self, listing: _Listing) -> Path:
        results, plan = self._results, self._results.plan
        layers = ", ".join(plan.layers)
        return write_gallery(
            results.folder,
            listing.entries,
            title=f"What {plan.model_name} looks at",
            subtitle=f"Layer: {layers}" if layers else "",
            failures=listing.failures,
            questions={title_of(explainer.key): explainer.question for explainer in plan.explainers},
            scale=results.scale,
            look=results.look,
            canvas=results.canvas,
        )


class _Listing:
    """The page's entries and failures.

    Args:
        score_kind: the kind of score, as in `GalleryEntry`.
    """

    def __init__(self, score_kind: str) -> None:
        self._score_kind = score_kind
        self.entries: list[GalleryEntry] = []
        self.failures: list[GalleryFailure] = []

    def add(self, record: Record) -> None:
        """Add an image's record to the entries or to the failures."""
        if record["image"].get("error"):
            reason = record["image"]["error"].removeprefix(shown(record["image"]["path"])).strip()
            self.failures.append(GalleryFailure(record["name"], reason))
        else:
            self.entries.append(_entry(record, self._score_kind))


def _entry(record: Record, score_kind: str) -> GalleryEntry:
    row = record["image"]
    predictions = list(zip(row["class_names"], row["scores"], strict=True))
    maps = [
        GalleryMap(
            title_of(one["method"]),
            one["target_name"] or "",
            one["file"],
            one["style"],
            one["score"],
            one["words"],
            one["other_file"],
        )
        for one in record["maps"]
    ]
    truth = row["true_class"]
    return GalleryEntry(
        record["name"],
        f"{record['folder']}/image.png",
        predictions,
        maps,
        (row["height"], row["width"]),
        score_kind,
        truth=row["true_name"] or "",
        is_right=None if truth is None or not row["classes"] else truth == row["classes"][0],
    )


def closing_lines(results: Results, page: Path | None, is_stopped: bool) -> list[str]:
    """Return the summary lines: the number of explained images, the page, notes and failures."""
    where, noun = f": {shown(page)}" if page else "", results.canvas.noun
    own, total, explained = {job.key for job in results.jobs}, len(results.jobs), 0
    blank: Counter[str] = Counter()
    nearly_empty: Counter[str] = Counter()
    for record in results.records():
        if record["key"] in own and not record["image"].get("error"):
            explained += 1
            blank.update(one["method"] for one in record["maps"] if one["is_blank"])
            nearly_empty.update(one["method"] for one in record["maps"] if one["is_nearly_empty"])
    if is_stopped:
        return [f"Stopped after {explained} of {total} {noun}s; finished maps are kept{where}"]
    methods, earlier = len(results.plan.explainers), total - len(results.pending)
    before = f" ({earlier} of them in an earlier run)" if earlier else ""
    lines = [f"Explained {explained} of {total} {noun}s{before} with {methods} method{'s' * (methods > 1)}{where}"]
    lines += [f"Note: {_maps(count)} of {key} {'are' if count > 1 else 'is'} zero everywhere" for key, count in blank.items()]
    for key, count in nearly_empty.items():
        lines.append(f"Note: {_maps(count)} of {key} {'are' if count > 1 else 'is'} nearly empty and drawn dimmed")
    return lines + [f"Not explained: {line}" for line in results.failure_lines]


def _maps(count: int) -> str:
    return f"{count} map{'s' * (count > 1)}"
