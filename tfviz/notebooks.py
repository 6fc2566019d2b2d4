"""Detect a notebook and display objects in it without depending on IPython."""

from __future__ import annotations

import sys
from typing import Any


def is_notebook() -> bool:
    """Return whether this process is a notebook kernel rather than a terminal or a script."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def displayed(value: object, **options: Any) -> Any:
    """Display a value below the running cell.

    Args:
        value: an object that IPython can represent.
        **options: options for IPython's `display`, such as `display_id=True`.

    Returns:
        The result of `display`, which is None or a handle that updates the output.
    """
    return sys.modules["IPython"].display.display(value, **options)
