"""README's commands and Python code run in order in a fresh clone, and print the stated output."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tfviz.errors import _EXTRAS
from tfviz.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
# CI runs this after the tests. Here it would install into the environment of the tests.
INSTALLING = "scripts/demo"
ACTIVATING = "source .venv/bin/activate"
SERVING = "tfviz watch runs"
MOST_WORDS = 2000
TIMEOUT_S = 600

# Runs all blocks in one process, so that names carry over from block to block.
DRIVER = """
import json, os, pathlib, subprocess, sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
printed, names = [], {"__name__": "readme"}
for kind, text in json.loads(sys.stdin.read()):
    before, sys.stdout = sys.stdout, open("printed.txt", "w+", encoding="utf-8")
    try:
        if kind == "console":
            subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True, stdout=subprocess.DEVNULL)
        else:
            exec(compile(text, "README.md", "exec"), names)
    finally:
        sys.stdout, written = before, sys.stdout
        written.seek(0)
    printed.append(written.read())
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository, with a .venv that uses the packages of this Python."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("tfviz", "scripts", "examples", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"export PATH={shlex.quote(str(programs))}:$PATH\n")
    (programs / "tfviz").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tfviz "$@"\n')
    # test_readme_only_installs_extras checks the arguments.
    (programs / "pip").write_text("#!/bin/sh\n")
    for name in ("tfviz", "pip"):
        (programs / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def environment(clone: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(clone), "MPLBACKEND": "agg"}


def runnable() -> list[tuple[str, str]]:
    """Return README's blocks in order, without commands that don't end, with .venv active."""
    found, is_active = [], False
    for kind, text in BLOCKS:
        if kind == "console":
            lines = [line for line in text.splitlines() if line not in (INSTALLING, SERVING)]
            found.append((kind, "\n".join([ACTIVATING, *lines] if is_active else lines)))
            is_active = is_active or ACTIVATING in lines
        elif kind == "python":
            found.append((kind, text))
    return found


def test_the_environment_is_activated_before_the_first_command() -> None:
    assert LINES[:2] == [INSTALLING, ACTIVATING] and os.access(ROOT / INSTALLING, os.X_OK)
    assert not [kind for kind, _ in BLOCKS if kind not in ("console", "python", "text")]


def test_every_block_runs_in_order_and_prints_the_output_in_readme(clone: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", DRIVER]
    words = {"input": json.dumps(runnable()), "capture_output": True, "text": True, "timeout": TIMEOUT_S}
    done = subprocess.run(command, cwd=clone, env=environment, **words)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(done.stdout.splitlines()[-1])
    stated = [following for (kind, _), (next_kind, following) in itertools.pairwise(BLOCKS) if next_kind == "text"]
    python = [text for (kind, _), text in zip(runnable(), printed, strict=True) if kind == "python" and text]
    assert python == stated
    made = ("maps/index.html", "run.mp4", "explainer/saved_model.pb", "heart_star_overlay.png", "exported/tfviz.json")
    assert all((clone / name).stat().st_size > 0 for name in made)


def test_the_page_is_served(clone: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("fastapi")
    assert SERVING in LINES
    (clone / "runs").mkdir(exist_ok=True)
    command = [sys.executable, "-m", *shlex.split(SERVING), "--port", "0"]
    with subprocess.Popen(command, cwd=clone, env=environment, stdout=subprocess.PIPE, text=True) as viewer:
        try:
            address = re.search(r"http://\S+", viewer.stdout.readline())[0]
            with urllib.request.urlopen(address, timeout=30) as page:
                assert page.status == 200 and b"tfviz" in page.read()
        finally:
            viewer.terminate()


def test_readme_only_installs_extras() -> None:
    installed = [line for line in LINES if "pip install" in line]
    assert installed == ["pip install '.[viewer,film]'"]
    assert {"viewer", "film"} <= set(_EXTRAS)


def test_every_relative_link_leads_to_a_file() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    for page in [*pages, *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).is_file(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md"])
def test_every_method_has_a_row_with_its_question(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*\?.*)$", text, re.MULTILINE))
    assert set(METHODS) <= set(rows)
    assert [key for key, method in METHODS.items() if f" {method.question} |" not in rows[key]] == []


def test_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS
