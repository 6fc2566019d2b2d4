"""The schema of run folders: what conforms to it, and how faults are reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.fake_runs import record_of, run_of

from tfviz.runs import schema
from tfviz.runs.validation import record_fault, run_fault

ID = "a" * 32
RUN, RECORD = run_of(ID), record_of(3)


def test_what_a_callback_writes_conforms_to_the_schema() -> None:
    assert run_fault(RUN) is None
    assert record_fault(RECORD) is None
    assert record_fault(RECORD, RUN) is None
    assert json.loads(schema.line_of(RECORD)) == RECORD
    more = {"explained": RECORD["predictions"], "strengths": {"grad_cam": ["sum 0.01 of 1", ""]}}
    assert run_fault({**RUN, "true_classes": [3, None], "kind": "video"}) is None
    assert record_fault({**RECORD, **more}, RUN) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"images": [{"height": 4096, "width": 1}] * 257}, "images: expected 1 to 256 items, got 257"),
        ({"images": [{"height": 4097, "width": 1}]}, "images.0.height: expected 1 to 4096"),
        ({"labels": ["a", "x" * 501]}, "labels.1: expected 0 to 500 characters, got 501"),
        ({"labels": [""] * 100_001}, "labels: expected 0 to 100000 items, got 100001"),
        ({"methods": RUN["methods"][:1] * 2}, "the method names are not unique: visual_backprop, visual_backprop"),
        ({"id": "A" * 32}, "id: expected text that matches ^[0-9a-f]{32}$"),
        ({"id": ID + "\n"}, "id: expected text that matches"),
        ({"started": -1}, "started: expected 0 or more"),
        ({"name": "\ud800"}, "name: expected text that UTF-8 can encode"),
        ({"true_classes": [1]}, "expected 2 true classes, one for each image, got 1"),
        ({"true_classes": ["cat", None]}, "true_classes.0: expected an integer"),
        ({"more\ud800\n": 1}, r"more\ud800\n: unexpected field"),
    ],
)
def test_a_fault_in_a_run_is_reported(change: dict[str, Any], fault: str) -> None:
    assert fault in (run_fault({**RUN, **change}) or "")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"number": 1_000_000}, "number: expected 0 to 999999"),
        ({"step": 2**53 + 1}, "step: expected 0 to 9007199254740992"),
        ({"time": 10**400}, "time: expected a finite number"),
        ({"logs": {f"m{number}": 0.5 for number in range(201)}}, "logs: expected 0 to 200 items, got 201"),
        ({"logs": {"loss": True}}, "logs.loss: expected a finite number"),
        ({"predictions": [{"class": 1, "score": None}, None]}, "predictions.0.score: expected a finite number"),
        ({"errors": {"grad_cam": "x" * 20_001}}, "errors.grad_cam: expected 0 to 20000 characters, got 20001"),
        ({"when": "later"}, "when: expected one of start, epoch, batch, end"),
        ({"methods": "grad_cam"}, "methods: expected a list"),
        ({"predictions": []}, "expected 2 predictions, one for each image, got 0"),
        ({"methods": ["saliency"]}, "the run has no method saliency"),
        ({"strengths": {"saliency": ["", ""]}}, "the run has no method saliency"),
        ({"strengths": {"grad_cam": [""]}}, "expected 2 entries in grad_cam, one for each image, got 1"),
        ({"explained": [None]}, "expected 2 entries in explained, one for each image, got 1"),
        ({"explained": [{"class": -1, "score": 0.5}, None]}, "explained.0.class: expected 0"),
    ],
)
def test_a_fault_in_a_record_is_reported(change: dict[str, Any], fault: str) -> None:
    assert fault in (record_fault({**RECORD, **change}, RUN) or "")


@pytest.mark.parametrize("field", RECORD)
def test_a_missing_field_is_reported(field: str) -> None:
    rest = {name: value for name, value in RECORD.items() if name != field}
    assert record_fault(rest) == record_fault(rest, is_strict=False) == f"{field}: the field is missing"


def test_the_lenient_check_allows_longer_lists_and_unknown_fields() -> None:
    assert run_fault({**RUN, "images": RUN["images"] * 200, "more": 1}, is_strict=False) is None
    assert record_fault({**RECORD, "logs": dict.fromkeys(map(str, range(300)), 0.5)}, is_strict=False) is None
    assert record_fault({**RECORD, "logs": []}, is_strict=False) == "logs: expected an object"


def test_texts_are_truncated_and_made_encodable() -> None:
    assert schema.shortened("x" * 500) == "x" * 500
    assert schema.shortened("x" * 501) == "x" * 499 + "…"
    assert schema.shortened("a\udc80") == "a?"
