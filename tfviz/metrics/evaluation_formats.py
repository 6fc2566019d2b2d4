"""Format evaluation rows as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfviz.atomic_files import write_atomically
from tfviz.errors import shown

_COLUMNS = ("method", "layer", "metric", "value", "low", "high", "n", "blank", "decides", "forwards", "higher_is_better")
_UNDECIDED = "†"
_LEGEND = (
    "Mean [95 % interval] over the images; ↑ higher is better, ↓ lower is better. Rows in italics are controls, which do not "
    f"depend on the network. {_UNDECIDED} The metric is inconclusive: the random control is not significantly worse."
)


def markdown(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """Format rows as a Markdown table with a legend and notes.

    Args:
        rows: an `Evaluation`'s rows.
        notes: the evaluation's notes.

    Returns:
        The Markdown text.
    """
    measures = {row["metric"]: row for row in rows}
    has_layers = any(row["layer"] for row in rows)
    head = ["method", *(["layer"] if has_layers else []), *map(_title, measures.values()), "blank"]
    lines = [head, ["---"] * len(head)]
    for method, layer in dict.fromkeys((row["method"], row["layer"]) for row in rows):
        own = {row["metric"]: row for row in rows if (row["method"], row["layer"]) == (method, layer)}
        cells = [_cell(own[key]) if key in own else "" for key in measures]
        name = f"*{method}*" if next(iter(own.values()))["is_control"] else method
        lines.append([name, *([layer or ""] if has_layers else []), *cells, str(max(row["blank"] for row in own.values()))])
    costs = [f"{max(row['forwards'] for row in rows if row['metric'] == key):g}" for key in measures]
    lines.append(["forward passes per image", *([""] if has_layers else []), *costs, ""])
    table = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
    return "\n\n".join([table, _LEGEND, *notes]) + "\n"


def _title(row: dict[str, Any]) -> str:
    return f"{row['metric']} {'↑' if row['higher_is_better'] else '↓'} (n = {row['n']})"


def _cell(row: dict[str, Any]) -> str:
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{interval}{f' {_UNDECIDED}' if row['decides'] is False else ''}"


def _escaped(text: str) -> str:
    return shown(text).replace("|", "\\|")


def csv_text(rows: Sequence[dict[str, Any]], path: str | Path | None) -> str:
    """Format rows as CSV and, if a path is given, write them to a file.

    Args:
        rows: an `Evaluation`'s rows.
        path: the file. If None, no file is written.

    Returns:
        The CSV text.

    Raises:
        OutputError: the file cannot be written.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if path is not None:
        write_atomically(path, file.getvalue())
    return file.getvalue()
