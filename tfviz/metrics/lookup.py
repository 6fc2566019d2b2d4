"""Look up metrics and measures by key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tfviz.errors import OptionError, near_matches
from tfviz.metrics import METRICS
from tfviz.metrics.metric import Measure, Metric

Metrics: TypeAlias = "str | Metric | Sequence[str | Metric]"

DEFAULT, ALL = "default", "all"


def metrics_named(metrics: Metrics, *, has_regions: bool) -> list[Metric]:
    """Return the metrics selected by the user.

    Args:
        metrics: "default", "all", a key of `METRICS`, a metric with custom options such as
            PointingGame(tolerance=5), or a list of these.
        has_regions: whether regions are available. If not, "default" and "all" omit the metrics
            that need regions.

    Returns:
        The metrics without duplicates.

    Raises:
        OptionError: there is no such metric, or a selected metric needs regions that are not
            available.
    """
    wanted = metrics if isinstance(metrics, Sequence) and not isinstance(metrics, str) else [metrics]
    found = {metric.key: metric for one in wanted for metric in _named(one, has_regions)}
    if not found:
        raise OptionError(f"Expected at least one metric. Received: metrics={metrics!r}. Pass 'default' or keys from METRICS.")
    return list(found.values())


def _named(metric: str | Metric, has_regions: bool) -> list[Metric]:
    key = metric.strip().lower().replace("-", "_") if isinstance(metric, str) else None
    if key in (DEFAULT, ALL):
        every = [cls() for cls in METRICS.values()]
        return [one for one in every if (one.is_default or key == ALL) and (has_regions or not one.needs_regions)]
    found = metric if isinstance(metric, Metric) else _from_key(key, metric)
    if found.needs_regions and not has_regions:
        raise OptionError(
            f"The metric {found.key!r} compares maps with annotated objects. Received: no boxes. Pass boxes= with one Regions "
            "object per image, or omit the metric."
        )
    return [found]


def _from_key(key: str | None, metric: object) -> Metric:
    if key not in METRICS:
        names = (DEFAULT, ALL, *METRICS)
        raise OptionError(f"tfviz has no metric {metric!r}. {near_matches(str(metric), names, most=len(names))}")
    return METRICS[key]()


def measure_named(key: str) -> Measure | None:
    """Return the measure with this key, or None if no registered metric reports it."""
    return next((one for metric in METRICS.values() for one in metric.measures if one.key == key), None)
