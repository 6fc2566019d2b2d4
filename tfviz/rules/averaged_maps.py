"""Last linear maps whose outputs are averaged over positions, as in SqueezeNet and NiN."""

from __future__ import annotations

from tfviz.graph.graph import Graph, Step
from tfviz.graph.layer_search import has_height_and_width
from tfviz.graph.operations import Elementwise, Identity, Linear, Move, Relu, Window


def averaged_maps(graph: Graph, last_maps: set[Step[Linear]]) -> set[Step]:
    """Find the last linear maps that form one linear map with an average over positions.

    A mask over the positions of a segmentation model is such an average, too. Only activations and
    moves may lie between the map and the average. Normalized position by position, the contrast of
    such a map sums to zero at every position, so its result is noise.

    Args:
        graph: the graph.
        last_maps: the linear maps closest to the outputs.

    Returns:
        These maps, and the averages above them.
    """
    found: set[Step] = set()
    for last in last_maps:
        behind = graph.after(last.outputs)
        above = [step for step in graph.before(graph.outputs) if step is not last and behind.intersection(step.inputs)]
        if has_height_and_width(last.outputs[0]) and all(map(_keeps_or_averages, above)):
            found |= {last, *(step for step in above if isinstance(step.operation, Window))}
    return found


def _keeps_or_averages(step: Step) -> bool:
    """Return whether a step keeps each element, moves it, or averages over all positions."""
    if isinstance(step.operation, Window):
        return not step.operation.is_max and not has_height_and_width(step.outputs[0])
    return isinstance(step.operation, (Relu, Elementwise, Identity, Move)) and len(step.inputs) == 1
