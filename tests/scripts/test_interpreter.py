"""A script that is run without the packages restarts in .venv, or prints how to create it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file() and p.read_bytes().startswith(b"#!/usr/bin/env python"))
WORDS = {
    "guided_backprop_vgg19": ["nowhere"],
    "visual_backprop_vgg16": ["--dir", "nowhere"],
    "one_image_resnet50": ["grad_cam", "a.png", "b.png"],
    "excitation_vgg16": ["a.png"],
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python without packages, like that of a system."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "tfviz").symlink_to(ROOT / "tfviz")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="a stub in sh stands for Python")
@pytest.mark.parametrize("name", [path.name for path in SCRIPTS])
def test_a_script_restarts_itself_in_the_virtual_environment(name: str, bare: Path, checkout: Path) -> None:
    words = WORDS.get(name, [])
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    python.chmod(0o755)
    done = subprocess.run([bare, checkout / "scripts" / name, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.split() == [str(checkout / "scripts" / name), *words]


@pytest.mark.parametrize("has_venv", [False, True])
@pytest.mark.parametrize("name", [path.name for path in SCRIPTS])
def test_without_packages_a_script_prints_how_to_install_them(name: str, has_venv: bool, bare: Path, checkout: Path) -> None:
    if has_venv:  # It lacks the packages, too.
        (checkout / ".venv").symlink_to(bare.parents[1])
        bare = checkout / ".venv" / "bin" / "python"
    done = subprocess.run([bare, checkout / "scripts" / name, *WORDS.get(name, [])], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        line.startswith(f"{name}: error: ")
        and "is missing the packages tensorflow, keras" in line
        and "scripts/demo once" in line
    )
