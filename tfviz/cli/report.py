"""What is said at the end: the page, and the last lines."""

from __future__ import annotations

from pathlib import Path

from tfviz.cli.plan import Plan
from tfviz.cli.results import Results
from tfviz.images import shown
from tfviz.render import GalleryFailure, title_of, write_gallery


def write_page(plan: Plan, results: Results) -> Path | None:
    """Writes index.html about all there is; None, and an older page stays, where there is nothing to tell."""
    if not results.entries and not results.failures:
        return None
    layers = ", ".join(plan.layers)
    return write_gallery(
        results.folder,
        list(results.entries.values()),
        title=f"What {plan.model_name} looks at",
        subtitle=f"Layer: {layers}" if layers else "",
        failures=[GalleryFailure(job.name, reason) for job, reason in results.failures.items()],
        questions={title_of(explainer.key): explainer.question for explainer in plan.explainers},
    )


def closing_lines(plan: Plan, results: Results, page: Path | None, total: int, is_stopped: bool) -> list[str]:
    """The last lines: how many pictures are explained, where they are, and which are not and why."""
    place = f": {shown(page)}" if page else ""
    if is_stopped:
        return [f"Stopped after {len(results.entries)} of {total} pictures; what was made stays{place}"]
    methods = len(plan.explainers)
    lines = [f"{len(results.entries)} of {total} pictures explained by {methods} method{'s' * (methods > 1)}{place}"]
    lines += [f"Note: {key} is zero everywhere on {_maps(count)}" for key, count in results.blank_maps.items() if count]
    return lines + [f"Not explained: {line}" for line in results.failure_lines]


def _maps(count: int) -> str:
    return f"{count} map{'s' * (count > 1)}"
