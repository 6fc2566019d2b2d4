"""Look up methods by key."""

from __future__ import annotations

import inspect

from tfviz.errors import UnknownMethodError, near_matches
from tfviz.methods.explainer import Explainer

# The registry in `tfviz.methods` fills this dict. The dict is defined here, because methods that
# look up other methods cannot import the registry.
METHODS: dict[str, type[Explainer]] = {}


def method_named(key: str) -> type[Explainer]:
    """Return the class for a key such as "grad_cam".

    Args:
        key: the method key. Case is ignored, and "-" is equivalent to "_".

    Returns:
        The method's class, a subclass of `Explainer`.

    Raises:
        UnknownMethodError: there is no such method. The message lists similar names.
    """
    method = METHODS.get(str(key).strip().lower().replace("-", "_"))
    if method is None:
        raise UnknownMethodError(f"tfviz has no method {key!r}. {near_matches(str(key), METHODS)}")
    return method


def takes(method: type[Explainer], option: str) -> bool:
    """Return whether a method's constructor accepts the given option, such as "layer"."""
    # On Python 3.10, the signature of `method` itself is just *args.
    return option in inspect.signature(method.__init__).parameters
