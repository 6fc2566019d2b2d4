"""`scripts/test --oldest` installs the oldest versions that setup.cfg allows."""

from __future__ import annotations

from pathlib import Path

import oldest_versions
import pytest

SETUP_CFG = Path(__file__).resolve().parents[2] / "setup.cfg"


def test_a_lower_bound_becomes_the_version() -> None:
    assert oldest_versions.oldest("keras>=3.12.3,!=3.13.*,!=3.14.0") == "keras==3.12.3"
    assert oldest_versions.oldest("opencv-python>=4.13.0.90") == "opencv-python==4.13.0.90"


@pytest.mark.parametrize("requirement", ["keras", "keras<4", "keras==3.12"])
def test_a_requirement_without_a_lower_bound_is_an_error(requirement: str) -> None:
    with pytest.raises(ValueError, match="has no lower bound"):
        oldest_versions.oldest(requirement)


def test_requirements_include_the_extras() -> None:
    found = oldest_versions.requirements(SETUP_CFG)
    assert {"tensorflow>=2.20", "torch>=2.6", "pytest>=8"} <= set(found)
    assert not [line for line in found if "%" in line]
    assert all(map(oldest_versions.oldest, found))
