"""When snapshots fall due, and how batches are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfviz.snapshots.progress import Progress
from tfviz.snapshots.schedule import Schedule


@given(every=st.integers(1, 9), at_once=st.integers(1, 7), start=st.integers(0, 50), executions=st.integers(1, 40))
def test_each_multiple_is_followed_by_a_snapshot_at_the_next_opportunity(
    every: int, at_once: int, start: int, executions: int
) -> None:
    schedule = Schedule(every)
    schedule.begin(start)
    opportunities = [start + at_once * (number + 1) for number in range(executions)]
    taken = []
    for step in opportunities:
        if schedule.is_due(step):
            schedule.mark_taken(step)
            taken.append(step)
    multiples = range((start // every + 1) * every, opportunities[-1] + 1, every)
    assert taken == sorted({min(step for step in opportunities if step >= due) for due in multiples})


def test_an_epoch_schedule_ignores_steps() -> None:
    schedule = Schedule("epoch")
    assert schedule.is_by_epoch
    assert not any(schedule.is_due(step) for step in range(100))
    assert not Schedule(np.int64(3)).is_by_epoch


def training(iterations: int, at_once: int) -> Any:
    optimizer = keras.optimizers.SGD()
    optimizer.iterations.assign(iterations)
    return SimpleNamespace(optimizer=optimizer, steps_per_execution=at_once)


@pytest.mark.parametrize(
    ("at_once", "counted", "ran", "batches"),
    [
        (4, 8, 8, 8),
        (4, 12, 9, 9),  # the dataset ended inside an execution
        (4, 12, 24, 12),  # two optimizer steps per batch
        (4, 12, 3, 12),  # gradients of four batches per step
        (4, 12, 0, 12),  # another optimizer was used
        (1, 5, 3, 5),
    ],
)
def test_the_last_execution_of_an_epoch_is_counted_by_the_optimizer(at_once: int, counted: int, ran: int, batches: int) -> None:
    progress = Progress()
    progress.begin(100)
    progress.begin_epoch(0, training(50, at_once))
    progress.end_batch(counted, training(50 + ran, at_once))
    assert (progress.batch, progress.step) == (batches, 100 + batches)
    progress.begin_epoch(1, training(50 + ran, at_once))
    assert (progress.epoch, progress.batch, progress.step) == (1, 0, 100 + batches)


def test_without_an_optimizer_keras_count_is_used() -> None:
    progress = Progress()
    model = SimpleNamespace(optimizer=None, steps_per_execution=4)
    progress.begin_epoch(0, model)
    progress.end_batch(8, model)
    assert progress.step == 8
