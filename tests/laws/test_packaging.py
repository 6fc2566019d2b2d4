"""What setup.cfg promises, and what messages tell users to install."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from tfviz.errors import _EXTRAS, install_command

ROOT = Path(__file__).resolve().parents[2]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = CONFIG["options.extras_require"]
TEXTS = [path for end in ("*.md", "*.py", "*.ipynb", "*.html") for path in sorted(ROOT.rglob(end)) if ".venv" not in str(path)]


def names(requirements: str) -> list[str]:
    return re.findall(r"^([\w.-]+(?:\[\w+\])?)", requirements, re.MULTILINE)


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "test"])
def test_a_message_names_the_packages_of_the_extra(extra: str) -> None:
    lines = "\n".join(line.strip() for line in EXTRAS[extra].splitlines() if line.strip())
    assert install_command(extra) == f"pip install {' '.join(names(lines))}"


def test_messages_know_no_other_extras() -> None:
    assert set(_EXTRAS) == set(EXTRAS) - {"test"}


def test_nobody_is_sent_to_a_package_of_the_same_name() -> None:
    """On the package index, tfviz is another project; this distribution is tfviz-keras."""
    assert CONFIG["metadata"]["name"] == "tfviz-keras"
    wrong = re.compile(r"pip install (-U |--upgrade )?['\"]?tfviz(?!-keras)\b")
    assert not [path for path in TEXTS if wrong.search(path.read_text(encoding="utf-8")) and path.name != Path(__file__).name]
