"""Links, pipes, locked folders, signals and broken streams: one of them never ends a run, or leaves a terminal changed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli_material import save_network, save_pictures

from tfviz.cli import signals
from tfviz.cli.main import main
from tfviz.cli.terminal import Progress, noted_warnings, tell
from tfviz.errors import ImageError, TfvizError, warn
from tfviz.images.folders import find_images

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and signals of POSIX")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "small.keras")


@pytest.fixture
def run(model_file: Path, tmp_path: Path) -> Callable[..., int]:
    options = ["--model", model_file, "--preprocess", "none", "--method", "saliency", "--output", tmp_path / "out"]
    return lambda *words: main(list(map(str, ["explain", *words, *options])))


# --- links and folders ----------------------------------------------------------------------------------------------


def test_links_and_pipes_in_a_folder_are_one_failure_each(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "sub/b.png"])
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("nothing")
    (folder / "sub" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    assert run(folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 of 5 images explained")
    assert lines[1:] == [
        f"Not explained: {folder}/loop.png cannot be read (Too many levels of symbolic links).",
        f"Not explained: There is no file {folder}/nowhere.png.",
        f"Not explained: {folder}/pipe.png is a pipe or device; expected an image file.",
    ]


@pytest.mark.parametrize("target", ["self", "nothing"])
def test_a_broken_link_that_is_named_does_not_end_a_run(
    target: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png"])
    (folder / "self").symlink_to(target)
    assert run(folder / "self", folder) == 1
    assert capsys.readouterr().out.startswith("1 of 2 images explained")


def test_an_output_that_links_to_itself_is_wrong_usage(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "loop").symlink_to("loop")
    folder = save_pictures(tmp_path / "in", ["a.png"])
    assert main(["explain", str(folder), "--model", str(model_file), "--output", str(tmp_path / "loop")]) == 2
    assert "is not a folder. Give another --output" in capsys.readouterr().err


def locked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Folders of that name cannot be listed, even by root."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_locked_folder_is_one_failure(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "locked/b.png", "open/c.png"])
    locked(monkeypatch, "locked")
    assert run(folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 of 3 images explained")
    assert lines[1:] == [f"Not explained: {folder}/locked cannot be read (Permission denied)."]
    assert run(folder / "locked", folder / "open") == 1
    assert capsys.readouterr().out.startswith("1 of 2 images explained")
    with pytest.raises(ImageError, match=r"locked cannot be read \(Permission denied\)"):
        find_images(folder / "locked")


def test_a_file_in_a_folder_that_may_not_be_entered_is_one_failure(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "b.png"])
    stat = Path.stat

    def refusing(self: Path, **options: bool) -> os.stat_result:
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    assert run(folder) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [f"Not explained: {folder}/b.png cannot be read (Permission denied)."]


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_page_of_what_is_done(stop: signal.Signals, model_file: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "in", [f"{number:03}.png" for number in range(400)])
    words = ["explain", folder, "--model", model_file, "--output", tmp_path / "out", "--method", "all", "--batch-size", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tfviz", *words, "--preprocess", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 90
    while not (tmp_path / "out/005/grad_cam.png").exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + stop, "")
    assert out.startswith("Stopped after ") and len(out.splitlines()) == 1
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "005/grad_cam.png" in page and page.rstrip().endswith("</html>")


def test_the_first_signal_stops_and_later_ones_are_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.stopping_on_signals():
        with pytest.raises(signals.Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert signals.exit_code(stopped.value) == 143
    assert signals.exit_code(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# --- streams --------------------------------------------------------------------------------------------------------

STREAMS = {
    "stderr closed": "2>&-",
    "both closed": ">&- 2>&-",
    "stdout full": ">/dev/full",
    "both full": ">/dev/full 2>/dev/full",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", STREAMS)
def test_a_broken_stream_does_not_end_a_run(name: str, model_file: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png"])
    (folder / "b.png").write_text("no image")  # there is something to say
    words = f"explain {folder} --model {model_file} --output {tmp_path}/out --method saliency"
    done = subprocess.run(f"{sys.executable} -m tfviz {words} {STREAMS[name]}", shell=True, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "a/saliency.png" in (tmp_path / "out/index.html").read_text("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["explain --help", "methods", "--version"])
def test_what_cannot_be_printed_leaves_the_exit_code_alone(words: str) -> None:
    done = subprocess.run(f"{sys.executable} -m tfviz {words} >/dev/full", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- what is said ---------------------------------------------------------------------------------------------------

EVIL = "\x1b[2J\x9b31m\u202e\x07"
PLAIN = r"\x1b[2J\x9b31m\u202e\x07"


def test_nothing_that_is_said_changes_the_terminal(capsys: pytest.CaptureFixture) -> None:
    tell(f"first {EVIL}\nsecond")
    assert capsys.readouterr().out == f"first {PLAIN}\nsecond\n"
    assert str(TfvizError(EVIL)) == PLAIN
    with pytest.warns(UserWarning) as caught:
        warn(EVIL)
    assert str(caught[0].message) == PLAIN
    assert main(["explain", f"--{EVIL}"]) == 2
    assert EVIL[0] not in capsys.readouterr().err


def test_the_names_of_files_and_classes_are_escaped(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "in", [f"a{EVIL}\n.png"])
    (folder / f"b{EVIL}\n.png").write_text("no image")
    (tmp_path / "labels.json").write_text(
        f'["{EVIL}", "b", "c", "d"]'.encode("unicode_escape").decode().replace("\\x", "\\u00")
    )
    assert run(folder, "--labels", tmp_path / "labels.json", "--target", "0,b") == 1
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).splitlines())
    assert f"{PLAIN}\\n.png" in said.out


def test_warnings_are_notes_and_each_is_said_once() -> None:
    said: list[str] = []
    with noted_warnings(said.append):
        for _ in range(3):
            warn("No preprocessing is known\nfor this model.")
        warn("Another.")
    assert said == ["Note: No preprocessing is known for this model.", "Note: Another."]
    stream = io.StringIO()
    with Progress(1, stream), warnings.catch_warnings():
        warn("Inside.")
    assert stream.getvalue() == "Note: Inside.\n"
    with pytest.warns(UserWarning, match="Outside"):
        warn("Outside.")


def test_other_libraries_warnings_stay_what_they_are() -> None:
    said: list[str] = []
    with pytest.warns(DeprecationWarning, match="old"), noted_warnings(said.append):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert not said
