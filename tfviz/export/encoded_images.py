"""Picture files in, pictures out."""

from __future__ import annotations

from typing import Any


class EncodedImages:
    def __init__(self, manifest: Any, overlay: bool) -> None:
        self.manifest, self.overlay = manifest, overlay

    @staticmethod
    def check(explainer: Any, include: Any, overlay: Any) -> None:
        pass
