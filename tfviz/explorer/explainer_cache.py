"""Keep the most recently used explainers, because compiling an explainer takes time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from tfviz.methods.explainer import Explainer

Key = tuple[str, str | None]  # the method and its layer


class ExplainerCache:
    """A cache of the most recently used explainers. Use it from one thread only.

    Args:
        build: a function that builds the explainer for a method and a layer.
        most: the maximum number of explainers.
    """

    def __init__(self, build: Callable[[str, str | None], Explainer], most: int) -> None:
        self._build, self._most = build, most
        self._explainers: OrderedDict[Key, Explainer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._explainers)

    def __contains__(self, key: Key) -> bool:
        return key in self._explainers

    def get(self, method: str, layer: str | None) -> Explainer:
        """Return the explainer for a method and a layer, building it if it is not cached.

        Raises:
            TfvizError: the method does not support the model or the layer.
        """
        key = method, layer
        if key not in self._explainers:
            built = self._build(method, layer)
            while len(self._explainers) >= self._most:
                self._explainers.popitem(last=False)
            self._explainers[key] = built
        self._explainers.move_to_end(key)
        return self._explainers[key]
