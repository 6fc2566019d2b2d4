"""The result of a sanity check: similarities by method and depth, and verdicts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby
from operator import attrgetter

import numpy as np
from matplotlib.figure import Figure

from tfviz.metrics.sanity_plot import plot
from tfviz.metrics.sanity_score import (
    CUMULATIVE,
    DECIDING,
    DEPENDS,
    HARDLY,
    HARDLY_DEPENDS,
    NAMES,
    RANDOM_LOGIT,
    TOP_DOWN,
    UNRELATED,
    UNTESTED,
    WORDS,
    Row,
    SanityScore,
)
from tfviz.metrics.statistics import Sample, estimate


@dataclass(frozen=True)
class SanityCheck:
    """The result of `tfviz.sanity_check`: similarities between maps, and verdicts.

    Args:
        scores: one comparison per method, test, depth, measure and image.
    """

    scores: Sequence[SanityScore]

    @cached_property
    def rows(self) -> list[Row]:
        """The mean scores over images, with one dict per method, layer, test, depth and measure.

        The keys are method, layer, test, randomized, depth, measure, value, low, high (the 95 %
        bootstrap interval), n and blank (the number of images with a blank map).
        """
        found = []
        names = ("method", "layer", "test", "randomized", "depth", "measure")
        for key, group in groupby(self.scores, attrgetter(*names)):
            scores = list(group)
            values, images = np.array([one.value for one in scores]), np.arange(len(scores))
            found_mean = estimate(Sample(values, images, np.zeros_like(images), len(scores)), "mean", seed=0)
            row: Row = dict(zip(names, key, strict=True))
            row |= {"value": found_mean.value, "low": found_mean.low, "high": found_mean.high}
            found.append({**row, "n": len(scores), "blank": sum(one.blank for one in scores)})
        return found

    @property
    def methods(self) -> list[str]:
        """The method keys, in the order of the scores."""
        return list(dict.fromkeys(one.method for one in self.scores))

    @cached_property
    def verdicts(self) -> list[Row]:
        """The verdicts, with one dict per method and test.

        The keys are method, on, verdict, kept, similarity, unrelated, n and blank.

        `on` is what was randomized: "the upper half of the layers", "all layers" or "the class".
        `kept` is the fraction of the similarity that remains, corrected for unrelated maps:
        (similarity − unrelated)/(1 − unrelated), where both similarities are Spearman correlations
        of the signed maps. If `kept` exceeds .5, the method barely depends on what was randomized.
        Verdicts do not rank methods.
        """
        return [verdict for method in self.methods for verdict in self._verdicts_of(method)]

    def _verdicts_of(self, method: str) -> Iterator[Row]:
        other_images = self._deciding(method, UNRELATED)
        base = _mean(other_images) if other_images else 0.0
        depths = sorted({one.depth for one in self.scores if one.method == method and one.test == TOP_DOWN})
        half = next((depth for depth in depths if depth >= 0.5), None)
        tests = [("the upper half of the layers", TOP_DOWN, half), ("all layers", TOP_DOWN, 1.0)] if depths else []
        for on, test, depth in (*tests, ("the class", RANDOM_LOGIT, None)):
            scores = self._deciding(method, test, depth)
            value = _mean(scores) if scores else float("nan")
            kept = (value - base) / (1 - base) if base < 1 else 0.0
            verdict = (HARDLY_DEPENDS if kept > HARDLY else DEPENDS) if scores else UNTESTED
            row: Row = {"method": method, "on": on, "verdict": verdict, "kept": kept, "similarity": value, "unrelated": base}
            yield {**row, "n": len(scores), "blank": sum(one.blank for one in scores)}

    def _deciding(self, method: str, test: str, depth: float | None = None) -> list[SanityScore]:
        return [
            one
            for one in self.scores
            if (one.method, one.test, one.measure) == (method, test, DECIDING) and depth in (None, one.depth)
        ]

    def to_markdown(self) -> str:
        """Format the verdicts and the underlying similarities as Markdown.

        Returns:
            The text, with two tables.
        """
        tested = list(dict.fromkeys(str(one["on"]) for one in self.verdicts))
        lines = ["| method | " + " | ".join(f"on {on}" for on in tested) + " |", "|---" * (len(tested) + 1) + "|"]
        for method in self.methods:
            found = {one["on"]: one for one in self.verdicts if one["method"] == method}
            lines.append(f"| `{method}` | " + " | ".join(_verdict(found.get(on)) for on in tested) + " |")
        lines += ["", *self._table()]
        return "\n".join(lines) + "\n"

    def _table(self) -> Iterator[str]:
        """Yield the lines of the similarity table.

        Each cumulative test has two rows per method: one with about half of the layers randomized,
        and one with all of them. The test "independent" is omitted.
        """
        measures = list(dict.fromkeys(one.measure for one in self.scores))
        yield "| method | compared with | " + " | ".join(NAMES.get(one, one) for one in measures) + " | blank |"
        yield "|---" * (len(measures) + 3) + "|"
        rows = [row for row in self.rows if row["test"] in WORDS or (row["test"] in CUMULATIVE and self._is_half_or_all(row))]
        for (method, test, depth), group in groupby(rows, lambda row: (row["method"], row["test"], row["depth"])):
            cells = {row["measure"]: row for row in group}
            values = " | ".join(_cell(cells.get(measure)) for measure in measures)
            blank = next(iter(cells.values()))["blank"]
            yield f"| `{method}` | {_described(str(test), float(depth))} | {values} | {blank} |"

    def _is_half_or_all(self, row: Row) -> bool:
        depths = [float(other["depth"]) for other in self.rows if other["test"] == row["test"]]
        return row["depth"] in (min(depth for depth in depths if depth >= 0.5), 1)

    def plot(self) -> Figure:
        """Plot the similarities against the layers, with one panel per method and order.

        Returns:
            A Matplotlib figure that is not registered with pyplot.
        """
        return plot(self.rows)

    def to_csv(self) -> str:
        """Format the rows as CSV.

        Returns:
            The CSV text, with a header and one line per row.
        """
        out = io.StringIO()
        names = list(self.rows[0]) if self.rows else [field.name for field in fields(SanityScore)]
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def _described(test: str, depth: float) -> str:
    """Describe in words what the original map was compared with."""
    return "all layers randomized" if depth == 1 else {**WORDS, **CUMULATIVE}[test].format(share=depth)


def reason_of(verdict: Row) -> str:
    """Format the numbers that support a verdict, such as "80% kept, 3 of 16 maps blank"."""
    if verdict["verdict"] == UNTESTED:
        return ""
    blank = f", {verdict['blank']} of {verdict['n']} maps blank" if verdict["blank"] else ""
    return f"{max(float(verdict['kept']), 0):.0%} kept{blank}"


def _verdict(verdict: Row | None) -> str:
    if verdict is None or verdict["verdict"] == UNTESTED:
        return UNTESTED
    return f"{verdict['verdict']} ({reason_of(verdict)})"


def _mean(scores: Sequence[SanityScore]) -> float:
    return float(np.mean([one.value for one in scores]))


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    around = "" if np.isnan(float(row["low"])) else f" ({float(row['low']):.2f} to {float(row['high']):.2f})"
    return f"{float(row['value']):.2f}{around}"
