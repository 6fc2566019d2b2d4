"""Methods by their keys."""

from __future__ import annotations

from tfviz.errors import UnknownMethodError, near_matches
from tfviz.methods import METHODS
from tfviz.methods.explainer import Explainer


def method_named(key: str) -> type[Explainer]:
    """The class for a key such as "grad_cam"; "-" counts as "_".

    Raises:
        UnknownMethodError: with the near matches.
    """
    method = METHODS.get(str(key).strip().lower().replace("-", "_"))
    if method is None:
        raise UnknownMethodError(f"tfviz has no method {key!r}. {near_matches(str(key), METHODS)}")
    return method
