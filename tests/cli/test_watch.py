"""`tfviz watch`, run from the command line."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.fake_runs import FakeTrainer

from tfviz.cli import watch
from tfviz.errors import MissingPackageError, OptionError

ID = "a" * 32


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    watch.add_parser(parser.add_subparsers())
    return parser.parse_args(["watch", *words])


def test_the_default_address_is_port_1337_of_localhost() -> None:
    args = parsed("runs")
    assert (args.log_dir, args.host, args.port, args.token) == (Path("runs"), "127.0.0.1", 1337, None)
    assert args.module == "tfviz.cli.watch"


@pytest.mark.parametrize("port", ["-1", "65536", "http", "1.5", "٣"])
def test_an_invalid_port_is_a_usage_error(port: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parsed("runs", f"--port={port}")
    assert f"Expected a port number from 0 to 65535. Received: '{port}'." in capsys.readouterr().err


def test_a_missing_extra_is_reported_with_its_install_command() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "import argparse; from tfviz.cli import watch\n"
        "watch.run(argparse.Namespace(log_dir='runs', host='127.0.0.1', port=0, token=None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"{MissingPackageError.__name__}: The live page needs FastAPI and uvicorn" in done.stderr
    assert "Run: pip install fastapi uvicorn" in done.stderr


def test_a_folder_or_address_that_cannot_be_served_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OptionError, match=r"file is a file\. Pass a folder of runs"):
        watch.run(parsed(str(file), "--port=0"))
    with pytest.raises(OptionError, match=r"Other machines can reach the viewer at 0\.0\.0\.0, so it needs a token"):
        watch.run(parsed(str(tmp_path), "--host=0.0.0.0"))
    with pytest.raises(OptionError, match=r"cannot listen on no\.such\.host\.invalid, port 0"):
        watch.run(parsed(str(tmp_path), "--host=no.such.host.invalid", "--token=t", "--port=0"))
    with pytest.raises(OptionError, match=r"cannot listen on .*, port 0 \(encoding with 'idna' codec failed"):
        watch.run(parsed(str(tmp_path), "--host=a\u202eb", "--token=t", "--port=0"))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_without_tensorflow_until_stopped(tmp_path: Path, stop: signal.Signals) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    FakeTrainer(tmp_path / "run", ID).snap()
    code = (
        "import sys, argparse; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tfviz.cli import watch\n"
        "parser = argparse.ArgumentParser(); watch.add_parser(parser.add_subparsers())\n"
        "args = parser.parse_args(sys.argv[1:])\n"
        "try: watch.run(args)\n"
        "except KeyboardInterrupt: print('Stopped.')"
    )
    words = ["watch", str(tmp_path), "--port", "0", "--token", "a+b&c"]
    serving = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = serving.stdout.readline()
        (address,) = re.search(r"(http://127\.0\.0\.1:\d+/) .*enter the token on the page", line).groups()
        assert "a+b" not in line and "a%2Bb" not in line
        request = urllib.request.Request(f"{address}api/runs", headers={"Authorization": "Bearer a+b&c"})
        with urllib.request.urlopen(request, timeout=20) as response:
            assert [run["id"] for run in json.load(response)] == [ID]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}api/runs", timeout=20)
        serving.send_signal(stop)
        out, err = serving.communicate(timeout=60)
    finally:
        serving.kill()
    assert ("Stopped." in out) == (stop == signal.SIGINT)
    assert re.fullmatch(r"\d\d:\d\d:\d\d 127\.0\.0\.1 GET /api/runs -> 401 The token is missing or wrong\.[^\n]*\n", err), err


def test_the_environment_sets_the_default_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("tfviz.viewer.server")
    tokens: list[str | None] = []

    class Served(server.Viewer):
        def __init__(self, *args: Any, token: str | None, **options: Any) -> None:
            tokens.append(token)
            super().__init__(*args, token=token, **options)

        def run(self) -> None:
            self.stop()

    monkeypatch.setattr(server, "Viewer", Served)
    for environment, words in (("from-the-environment", []), ("from-the-environment", ["--token=given"]), ("", [])):
        monkeypatch.setenv("TFVIZ_TOKEN", environment)
        watch.run(parsed(str(tmp_path), "--port=0", *words))
    assert tokens == ["from-the-environment", "given", None]
    monkeypatch.setenv("TFVIZ_TOKEN", "too-short")
    with pytest.raises(
        OptionError, match=r"The token has 9 characters, so machines that can reach .* Choose a token of at least 16"
    ):
        watch.run(parsed(str(tmp_path), "--port=0", "--host=0.0.0.0"))
