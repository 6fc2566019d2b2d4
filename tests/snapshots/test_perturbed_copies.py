"""Snapshots of methods that run perturbed copies of each image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.snapshot_material import Eager, assert_complete

import tfviz


def test_snapshots_hold_the_maps_titles_and_styles(tmp_path: Path) -> None:
    eager = Eager()
    eager.reset()
    model = eager.model
    explainers = {
        "smooth_grad": tfviz.SmoothGrad(model, samples=3),
        "smooth_grad-2": tfviz.SmoothGrad(model, "grad_cam", samples=3, layer="conv"),
        "occlusion": "occlusion",
        "rise": tfviz.RISE(model, samples=8),
        "score_cam": tfviz.ScoreCAM(model, "conv"),
    }
    eager.fit(eager.callback(tmp_path, explainers=list(explainers.values())))
    last = assert_complete(tmp_path)[-1]
    explainers["occlusion"] = tfviz.Occlusion(model)
    with np.load(tmp_path / "maps" / f"{last['number']:08d}.npz") as maps:
        for name, explainer in explainers.items():
            wanted = np.asarray(explainer(eager.images[:2]))
            np.testing.assert_allclose(maps[name].astype(np.float32), wanted, rtol=0, atol=1e-3 * abs(wanted).max())
    methods = {one["name"]: one for one in json.loads((tmp_path / "run.json").read_text())["methods"]}
    assert {name: (one["title"], one["style"]) for name, one in methods.items()} == {
        "smooth_grad": ("SmoothGrad", "signed"),
        "smooth_grad-2": ("SmoothGrad of Grad-CAM", "heatmap"),
        "occlusion": ("Occlusion", "signed"),
        "rise": ("RISE", "heatmap"),
        "score_cam": ("Score-CAM", "heatmap"),
    }


def test_a_key_that_needs_backgrounds_is_an_error(tmp_path: Path) -> None:
    eager = Eager()
    eager.reset()
    with pytest.raises(tfviz.OptionError, match="at least 8 background images"):
        eager.fit(eager.callback(tmp_path, explainers=["expected_gradients"]))
