"""scripts/evaluate_methods: its scenes, its stored scores, its tables and its layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import method_scores
import method_tables
import numpy as np
import pytest
from method_layers import stage_ends
from method_scores import Part, evaluation_of, rows_of, scenes

import tfviz
from tfviz.reading.read_model import read_model

PART = Part("part", lambda model, own: {"saliency": tfviz.Saliency(model)}, ["single_deletion", "mass_in_region"], 2)


def test_the_first_scenes_do_not_depend_on_their_number() -> None:
    few, many = scenes(2), scenes(3)
    np.testing.assert_array_equal(few.images, many.first(2).images)
    assert all(len(one.classes) == 2 for one in many.regions)


def test_stored_scores_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, own = tfviz.load_model("shapes"), scenes(2)
    evaluation_of(PART, model, own, tmp_path, share=0.5, seed=0)
    first = (tmp_path / "part.jsonl").read_text()
    both = evaluation_of(PART, model, own, tmp_path, share=1, seed=0)
    second = (tmp_path / "part.jsonl").read_text()
    assert second.startswith(first) and second.count("\n") == 2
    assert {row["n"] for row in both.rows} == {2}
    monkeypatch.setattr(method_scores, "ImageScorer", None)  # Nothing is left to score.
    assert evaluation_of(PART, model, own, tmp_path, share=1, seed=0).rows == both.rows


def row(method: str, n: int, **others: Any) -> dict[str, Any]:
    common = {"layer": None, "metric": "road", "value": 0.5, "low": 0.4, "high": 0.6, "decides": True, "is_control": False}
    return common | {"method": method, "n": n} | others


def test_a_table_has_the_number_of_images_and_what_does_not_decide() -> None:
    rows = [row("a", 8), row("b", 4, decides=False), row("random", 8, decides=None, is_control=True)]
    assert method_tables.markdown(rows, ["road", "deletion"]).splitlines()[2:] == [
        "| `a` | 8 | 0.50 [0.40, 0.60] |",
        "| `b` | 4 | 0.50 [0.40, 0.60] † |",
        "| *random* | 8 | 0.50 [0.40, 0.60] |",
    ]
    (axes,) = method_tables.draw(rows, ["road"], "title").axes
    hollow = [line.get_markerfacecolor() == "white" for line in axes.lines if line.get_marker() == "o"]
    assert hollow == [False, True, False]


def test_controls_come_from_the_part_with_the_most_images() -> None:
    parts = [tfviz.metrics.evaluation.Evaluation([row("random", n, is_control=True)], []) for n in (3, 9, 5)]
    assert [one["n"] for one in rows_of(parts)] == [9]


def test_a_table_replaces_the_one_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")
    monkeypatch.setattr(method_tables, "PAGE", page)
    method_tables.write_block("x", "new \\1")
    assert page.read_text() == "before\n<!-- x -->\n\nnew \\1\n\n<!-- /x -->\nafter\n"


def test_a_stage_ends_where_the_size_changes() -> None:
    graph = read_model(tfviz.load_model("shapes")).graph
    assert stage_ends(graph) == ["block1_conv1", "block2_conv1", "block3_conv2", "block4_conv2"]
