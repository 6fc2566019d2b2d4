"""Write the `tfviz evaluate` report for the finished images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfviz.atomic_files import write_atomically
from tfviz.cli.evaluation_run import SANITY, EvaluationRun
from tfviz.cli.evaluation_tables import preface
from tfviz.cli.run_store import Record
from tfviz.cli.scored_images import LOOK, image_path
from tfviz.errors import shown
from tfviz.metrics.evaluation import Evaluation
from tfviz.metrics.evaluation_figure import figure_of
from tfviz.metrics.sanity_result import SanityCheck
from tfviz.metrics.sanity_score import SanityScore
from tfviz.render import GalleryEntry, GalleryFailure, GalleryMap, title_of, write_gallery

PAGE = "report.html"
_CURVES, _SANITY_PLOT = Path("figures/curves.png"), Path("figures/sanity.png")
_DPI = 150
_CAPTIONS = (
    "The scores below each map apply only to that map. Maps are drawn as they are scored, with their channels summed. The "
    "white outline is the annotated region of the class. The ring is centered on the map's maximum, and its radius is the "
    "distance within which the pointing game counts a hit. Each map has its own color scale, so equal colors in two maps "
    "don't mean equal values."
)
# For a single map, these metrics have the same value as `pointing_game`.
_NOT_CAPTIONED = ("pointing_game_pairs", "pointing_game_difficult")


def write_report(run: EvaluationRun) -> Path | None:
    """Write the report and return the page's path, or None if there is nothing to report."""
    places = {str(job.folder): place for place, job in enumerate(run.jobs)}
    records = sorted((one for one in _latest(run) if one["name"] in places), key=lambda one: places[one["name"]])
    if not records and not run.failures:
        return None
    scores = [score for record in records for score in record["scores"]]
    notes = [record["text"] for record in run.store.of_kind("note")]
    evaluation = Evaluation.of(scores, notes=notes, seed=run.seed)
    sanity = SanityCheck([SanityScore(**score) for record in run.store.of_kind(SANITY) for score in record["scores"]])
    _write_tables(run, evaluation, sanity)
    figures = (
        [_save(run.folder / _CURVES, figure_of(evaluation.rows, evaluation.curves, has_bars=False))]
        if evaluation.curves
        else []
    )
    figures += [_save(run.folder / _SANITY_PLOT, sanity.plot())] if sanity.rows else []
    return write_gallery(
        run.folder,
        list(_entries(run, records)),
        title=f"How faithful are the maps for {run.plan.model_name}?",
        subtitle=f"Layer: {', '.join(run.plan.layers)}" if run.plan.layers else "",
        failures=[GalleryFailure(job.name, reason) for job, reason in run.failures.items()],
        questions={title_of(explainer.key): explainer.question for explainer in run.plan.explainers},
        look=LOOK,
        page=PAGE,
        preface=preface(evaluation, sanity, [path.relative_to(run.folder).as_posix() for path in figures]),
        captions=_CAPTIONS,
    )


def _latest(run: EvaluationRun) -> list[Record]:
    """Return each image's latest record. An image that changed between runs has several records."""
    return list({record["name"]: record for record in run.store.of_kind("image")}.values())


def _write_tables(run: EvaluationRun, evaluation: Evaluation, sanity: SanityCheck) -> None:
    parts = [f"# How faithful are the maps for {run.plan.model_name}?\n"]
    if evaluation.rows:
        parts.append(evaluation.to_markdown())
        evaluation.to_csv(run.folder / "report.csv")
        write_atomically(run.folder / "scores.csv", _scores_csv(run, evaluation.scores))
    if sanity.rows:
        parts.append(f"## Sanity checks\n\n{sanity.to_markdown()}")
        write_atomically(run.folder / "sanity.csv", sanity.to_csv())
    write_atomically(run.folder / "report.md", "\n".join(parts))


def _scores_csv(run: EvaluationRun, scores: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    names = ["image", "method", "layer", "metric", "target", "target_name", "value", "blank", "forwards", "is_control"]
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for score in scores:
        target = run.plan.labels.name(score["target"])
        writer.writerow({**score, "image": run.jobs[score["image"]].name, "target_name": target})
    return out.getvalue()


def _save(path: Path, figure: Figure) -> Path:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return write_atomically(path, content.getvalue())


def _entries(run: EvaluationRun, records: Sequence[Record]) -> Iterator[GalleryEntry]:
    labels = run.plan.labels
    jobs = {str(job.folder): job for job in run.jobs}
    for record in records:
        job = jobs[record["name"]]
        predictions = [(labels.name(index), score) for index, score in record["predictions"]]
        known = dict(map(tuple, record["predictions"]))
        maps = [
            GalleryMap(
                title_of(one["method"]),
                labels.name(one["target"]),
                one["path"],
                one["style"],
                known.get(one["target"]),
                _caption(record["scores"], one["method"], one["target"]),
            )
            for one in record["maps"]
        ]
        kind = run.plan.classifier.kind
        yield GalleryEntry(job.name, image_path(job), predictions, maps, tuple(record["size"]), kind)


def _caption(scores: Sequence[dict[str, Any]], method: str, target: int) -> str:
    """Return a caption with the scores of one map."""
    own = [score for score in scores if (score["method"], score["target"]) == (method, target)]
    words = ["blank map"] if any(score["blank"] for score in own) else []
    for score in own:
        if score["metric"] == "pointing_game":
            words.append(f"pointing {'hit' if score['value'] else 'miss'}")
        elif score["metric"] not in _NOT_CAPTIONED:
            words.append(f"{score['metric'].replace('_', ' ')} {score['value']:.2f}")
    return " · ".join(words)


def closing_lines(run: EvaluationRun, page: Path | None, is_stopped: bool) -> list[str]:
    """Return the summary lines: the number of evaluated images, the page and any failures."""
    where = f": {shown(page)}" if page else ""
    count, total, methods = len(_latest(run)), len(run.jobs), len(run.plan.explainers)
    if is_stopped:
        return [f"Stopped after {count} of {total} images; run the same command again to resume{where}"]
    lines = [f"Evaluated {count} of {total} images with {methods} method{'s' * (methods > 1)}{where}"]
    return lines + [f"Not evaluated: {shown(job.path)}: {reason}" for job, reason in run.failures.items()]
