"""Tell whether the program runs in a notebook, and display objects there, without IPython."""

from __future__ import annotations

import sys
from typing import Any


def is_notebook() -> bool:
    """Return whether this is the kernel of a notebook, rather than a terminal or a script."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def displayed(value: object, **options: Any) -> Any:
    """Display a value below the running cell.

    Args:
        value: an object that IPython can represent.
        **options: the options of IPython's `display`, such as `display_id=True`.

    Returns:
        What `display` returns: None, or the handle of an output that can be updated.
    """
    return sys.modules["IPython"].display.display(value, **options)
