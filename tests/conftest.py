"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each core runs one process. With further threads, the processes wait for each other's cores.
    for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

pytest.register_assert_rewrite("support")

from support.browser import browser, open_page  # noqa: E402, F401

# Busy computers draw examples slowly.
hypothesis.settings.register_profile("unhurried", suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """Speed up garbage collections, which then ignore the objects that the imports created."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seed the fixture, so that test order does not matter, and forbid eager filter gradients."""
    _seed()
    with _no_eager_filter_gradient(request.node):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Seed the test, and forbid eager filter gradients."""
    _seed()
    with _no_eager_filter_gradient(pyfuncitem):
        return (yield)


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    if "keras" in sys.modules:  # some tests look at what is imported
        from support.seeds import set_random_seed

        set_random_seed(0)


FILTER_GRADIENTS = (
    *("conv2d_backprop_filter", "conv2d_backprop_filter_v2", "depthwise_conv2d_native_backprop_filter"),
    *("conv3d_backprop_filter", "conv3d_backprop_filter_v2", "dilation2d_backprop_filter"),
)


@contextmanager
def _no_eager_filter_gradient(node: Any) -> Iterator[None]:
    """A law: nothing computes the gradient of a filter eagerly, but a step of training, which asks
    for it.

    TensorFlow 2.21 corrupts the heap there on some processors. In a function that is traced one is
    allowed: it is left out where nobody asks for it.
    """
    if "tensorflow" not in sys.modules or node.get_closest_marker("eager_filter_gradient"):
        yield
        return
    from tensorflow.python.ops import gen_nn_ops

    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in FILTER_GRADIENTS:
            patch.setattr(gen_nn_ops, name, _only_traced(name, getattr(gen_nn_ops, name), seen))
        yield
    assert not seen, f"computed eagerly, and the error was caught: {seen}"


def _only_traced(name: str, operation: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        if sys.modules["tensorflow"].executing_eagerly() and not _is_training():
            seen.append(name)
            raise AssertionError(f"{name} runs eagerly: compile what runs the tape (see tests/support/tape.py)")
        return operation(*args, **kwargs)

    return checked


def _is_training() -> bool:
    """Whether a step of a training with `run_eagerly` is what runs."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "train_step":
        frame = frame.f_back
    return frame is not None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger test material beside the checkout; tests that need it are skipped where
    it is absent.
    """
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the shared test material is not here")
    newest = max(map(_saved_with, folder.rglob("*.keras")), default=())
    if newest > _numbers(version("keras")):
        pytest.skip("the shared networks were saved with a newer Keras, which this one cannot read")
    return folder


def _saved_with(path: Path) -> tuple[int, ...]:
    """The version of Keras that saved a file."""
    with zipfile.ZipFile(path) as file:
        return _numbers(json.loads(file.read("metadata.json"))["keras_version"])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:2]))
