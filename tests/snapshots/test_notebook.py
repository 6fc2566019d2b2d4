"""The newest snapshot below the running cell of a notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.snapshot_material import CLASSES, Eager

import tfviz
from tfviz.snapshots import callback
from tfviz.snapshots.sinks import notebook


class Output:
    """What a notebook shows."""

    def __init__(self) -> None:
        self.panels: list[Any] = []

    def display(self, value: Any, **options: Any) -> Output:
        assert options == {"display_id": True} and not self.panels
        self.update(value)
        return self

    def update(self, value: Any) -> None:
        assert value._repr_html_()
        self.panels.append(value)


@pytest.fixture(scope="module")
def shared_eager() -> Eager:
    return Eager()


@pytest.fixture
def eager(shared_eager: Eager, monkeypatch: pytest.MonkeyPatch) -> Eager:
    shared_eager.reset()
    monkeypatch.setattr(callback, "is_notebook", lambda: True)
    return shared_eager


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setattr(notebook, "displayed", output.display)
    return output


def test_the_panel_shows_the_newest_snapshot(
    tmp_path: Path, eager: Eager, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "_LEAST_PAUSE_S", 0.0)
    monkeypatch.setattr(notebook, "_SHARE", 1e9)
    names = [f"<b>{number}" for number in range(CLASSES)]
    eager.fit(eager.callback(tmp_path, every=2, labels=names, truth=eager.labels[:2], viewer=None))
    assert [panel.heading.partition(" · ")[0] for panel in output.panels] == [
        "before training, step 0",
        "epoch 1, step 2",
        "epoch 1, step 4",
        "after training, step 5",
    ]
    assert re.search(r"loss \d", output.panels[-1].heading)
    last = output.panels[-1]
    assert re.fullmatch(rf"true: <b>{eager.labels[0]}, predicted: <b>\d 0\.\d\d", last.captions[0])
    assert "true: &lt;b&gt;" in last._repr_html_()
    expected = eager.explainer(eager.images[:2])
    np.testing.assert_allclose(last.values[0], expected, atol=1e-6)


def test_many_snapshots_do_not_slow_training_and_the_last_is_shown(tmp_path: Path, eager: Eager, output: Output) -> None:
    eager.fit(eager.callback(tmp_path, every=1, images=eager.images[:17], max_images=17))
    assert len(output.panels) == 2
    assert "after training" in output.panels[-1].heading and "the first 16 of 17 images" in output.panels[-1].heading


def test_a_notebook_that_cannot_display_causes_one_warning(
    tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the kernel has no front end")

    monkeypatch.setattr(notebook, "displayed", broken)
    with pytest.warns(tfviz.SnapshotWarning, match="NotebookSink could not be written to: RuntimeError: the kernel") as caught:
        history = eager.fit(eager.callback(tmp_path)).history
    assert len(caught) == 1 and len(history["loss"]) == 1


@pytest.mark.parametrize(("is_there", "asked"), [(False, True), (True, False)])
def test_nothing_is_shown_outside_of_a_notebook_or_if_not_asked_for(
    tmp_path: Path, eager: Eager, output: Output, monkeypatch: pytest.MonkeyPatch, is_there: bool, asked: bool
) -> None:
    monkeypatch.setattr(callback, "is_notebook", lambda: is_there)
    eager.fit(eager.callback(tmp_path, notebook=asked))
    assert output.panels == []


def test_re_chosen_images_are_drawn_with_their_true_classes(
    tmp_path: Path, eager: Eager, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "_LEAST_PAUSE_S", 0.0)
    monkeypatch.setattr(notebook, "_SHARE", 1e9)
    images = tfviz.images_from((eager.images, eager.labels), n=2, worst=True)
    snapshots: list[Any] = []
    show = notebook.NotebookSink.write
    monkeypatch.setattr(notebook.NotebookSink, "write", lambda sink, one: (snapshots.append(one), show(sink, one))[1])
    watching = eager.callback(tmp_path, images=images)
    first = np.array(watching._images.canvas.pictures)
    eager.fit(watching)
    assert not np.array_equal(first, snapshots[0].images), "no other images were chosen"
    for panel, snapshot in zip(output.panels, snapshots, strict=True):
        np.testing.assert_array_equal(panel.canvas.pictures, snapshot.images)
        true = snapshot.record["true_classes"]
        assert [caption.partition(",")[0] for caption in panel.captions] == [f"true: class {one}" for one in true]
