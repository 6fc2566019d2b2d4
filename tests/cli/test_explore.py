"""`tfviz explore`, run from the command line."""

from __future__ import annotations

import argparse
import gc
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tfviz.cli import explore, main
from tfviz.errors import ImageError, MissingPackageError, OptionError
from tfviz.shapes import SAMPLES_DIR


def parsed(*words: str) -> argparse.Namespace:
    return main._parse(["explore", *words])


def test_paths_may_come_before_or_after_the_options() -> None:
    for words in (["photos", "--model", "vgg16"], ["--model", "vgg16", "photos"]):
        args = parsed(*words)
        assert (args.paths, args.model, args.host, args.port, args.token) == (["photos"], "vgg16", "127.0.0.1", 1338, None)
    assert parsed().paths == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "tfviz.load_model('shapes')"),
        (["--model", "vgg16", "--weights", "none"], "tfviz.load_model('vgg16', weights=None)"),
        (["--model", "m.keras", "--preprocess", "tf"], "tfviz.load_model('m.keras', preprocessing='tf')"),
        (
            ["--model", "m.keras", "--labels", "l.txt", "--image-size", "64x80"],
            "tfviz.load_model('m.keras', labels='l.txt', size=(64, 80))",
        ),
    ],
)
def test_the_code_loads_the_model_as_the_command_does(words: list[str], code: str) -> None:
    assert explore._load_code(parsed(*words)) == code


def test_a_missing_extra_is_reported_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("tfviz.explorer.server")
    monkeypatch.setitem(sys.modules, "tfviz.viewer.page_server", None)
    with pytest.raises(MissingPackageError, match=r"The explorer needs FastAPI and uvicorn .*Run: pip install fastapi uvicorn"):
        runpy.run_path(server.__file__)


def test_what_cannot_be_served_is_an_error_before_the_model_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with pytest.raises(ImageError, match="does not exist"):
        explore.run(parsed(str(tmp_path / "nowhere")))
    with pytest.raises(OptionError, match=r"Other machines can reach the explorer at 0\.0\.0\.0, so it needs a token"):
        explore.run(parsed("--host=0.0.0.0", "--model=no-such-network"))


def test_it_serves_the_model_and_the_images(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    httpx = pytest.importorskip("httpx")
    from tfviz.explorer.server import Explorer

    found: dict[str, Any] = {}
    serve = Explorer.run

    def served(explorer: Explorer) -> None:
        found["frozen"] = gc.get_freeze_count()
        gc.unfreeze()
        monkeypatch.setattr(Explorer, "run", serve)  # in a thread
        with explorer:
            found["model"] = httpx.get(f"{explorer.address}api/model", timeout=120).json()
            names = {"image": "file/ring.png", "method": "expected_gradients"}
            found["map"] = httpx.get(f"{explorer.address}api/map", params=names, timeout=120).json()

    monkeypatch.setattr(Explorer, "run", served)
    assert explore.run(parsed(str(SAMPLES_DIR), "--port=0", f"--backgrounds={SAMPLES_DIR}")) == 0
    assert "Exploring shapes: http://127.0.0.1:" in capsys.readouterr().out
    assert len(found["model"]["images"]) == 12
    assert found["frozen"] > 10_000
    assert "backgrounds=tfviz.load_images([" in found["map"]["python"]
