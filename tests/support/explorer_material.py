"""A running explorer of the packaged network, for the tests."""

from __future__ import annotations

from typing import Any

import tfviz
from tfviz.explorer.python_lines import ModelCode
from tfviz.explorer.server import Explorer
from tfviz.images.folders import find_images
from tfviz.shapes import SAMPLES_DIR

SAMPLES = sorted(SAMPLES_DIR.glob("*.png"))[:4]
FIRST = f"file/{SAMPLES[0].name}"


def explorer(**options: Any) -> Explorer:
    """Create an explorer with four images on a free port."""
    code = ModelCode("tfviz.load_model('shapes')")
    return Explorer(tfviz.load_model("shapes"), find_images(SAMPLES), port=0, code=code, **options)
