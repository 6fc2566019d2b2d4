"""Check options that are numbers or arrays."""

from __future__ import annotations

import numpy as np

from tfviz.errors import OptionError


def positive_integer(name: str, given: object) -> int:
    """Check that an option is a positive integer and return it.

    Raises:
        OptionError: the option is not an integer of at least 1.
    """
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
        raise OptionError(f"`{name}` must be a positive integer. Received: {given!r}.")
    return int(given)


def checked_seed(given: object) -> int:
    """Check that a random seed is valid and return it.

    Raises:
        OptionError: the seed is not an integer from 0 to 2³¹ − 1.
    """
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not 0 <= given < 2**31:
        raise OptionError(f"`seed` must be an integer from 0 to {2**31 - 1}. Received: {given!r}.")
    return int(given)


def finite_array(name: str, given: object) -> np.ndarray:
    """Check that an option is an array of finite numbers and return it in float32.

    Raises:
        OptionError: the option is not an array of numbers, or contains NaN or infinity.
    """
    try:
        array = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise OptionError(f"`{name}` must be an array of numbers. Received: {type(given).__name__}.") from error
    if not np.isfinite(array).all():
        raise OptionError(f"`{name}` contains NaN or infinity. Pass finite values.")
    return array
