"""Find a model's last linear maps, where the contrast between classes starts."""

from __future__ import annotations

from tfviz.graph.graph import Graph, Step
from tfviz.graph.layer_search import has_height_and_width
from tfviz.graph.operations import Elementwise, Identity, Linear, Move, Relu, Window


def last_linear_maps(graph: Graph) -> tuple[set[Step], set[Step]]:
    """Return the linear maps closest to the outputs and the steps above them.

    Linear maps that compute gates are excluded, because nothing is propagated through gates.
    """
    found: set[Step] = set()
    way: set[Step] = set()
    needed = set(graph.outputs)
    for step in reversed(graph.steps):
        if needed.isdisjoint(step.outputs):
            continue
        if isinstance(step.operation, Linear):
            found.add(step)
        else:
            way.add(step)
            needed.update(step.signal_inputs)
    read = {value for step in found for value in step.inputs}
    return {step for step in found if graph.after(step.outputs).isdisjoint(read)}, way


def averaged_maps(graph: Graph, last_maps: set[Step[Linear]]) -> set[Step]:
    """Return the last linear maps whose outputs are averaged over positions, and the averages.

    Together, such a linear map and the average form a single linear map, as in SqueezeNet and NiN,
    or in a segmentation model whose target averages over a mask. Only activations and moves may
    come between the two. If the probability were normalized at each position separately, the
    contrast would sum to zero at each position, and the result would be noise.

    Args:
        graph: the graph.
        last_maps: the linear maps closest to the outputs.

    Returns:
        The steps for these linear maps and for the averages above them.
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
