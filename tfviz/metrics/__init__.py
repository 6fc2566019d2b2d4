"""The metric registry. Metrics measure how well maps agree with a model and with annotations.

To add a metric, add its file to this folder, then import it and add it to `METRICS` below.
`tfviz.evaluate`, the command line and the tests read the registry and follow its order.
"""

from __future__ import annotations

from tfviz.metrics.average_drop import AverageDrop
from tfviz.metrics.deletion_insertion import DeletionInsertion
from tfviz.metrics.mass_in_region import MassInRegion
from tfviz.metrics.max_sensitivity import MaxSensitivity
from tfviz.metrics.metric import Metric
from tfviz.metrics.mu_fidelity import MuFidelity
from tfviz.metrics.pointing_game import PointingGame
from tfviz.metrics.road import Road
from tfviz.metrics.single_deletion import SingleDeletion

METRICS: dict[str, type[Metric]] = {
    metric.key: metric
    for metric in (
        SingleDeletion,
        DeletionInsertion,
        Road,
        PointingGame,
        MassInRegion,
        MuFidelity,
        MaxSensitivity,
        AverageDrop,
    )
}
