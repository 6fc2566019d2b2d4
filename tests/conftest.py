"""Fixtures that several test files share."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

pytest.register_assert_rewrite("support")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Iterator[None]:
    """Whatever a fixture draws, it draws the same in any order of tests."""
    _seed()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    """So does a test."""
    _seed()
    return (yield)


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    if "keras" in sys.modules:  # some tests look at what is imported
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger test material beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the shared test material is not here")
    return folder
