"""Links, pipes, unreadable folders, signals and broken streams neither end a run nor alter the
terminal.
"""

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
from tfviz.cli.terminal import Progress, print_line, warnings_as_notes
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


# --- links and folders -------------------------------------------------------------------------


def test_every_bad_link_or_pipe_in_a_folder_is_one_failure(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "sub/b.png"])
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("nothing")
    (folder / "sub" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    assert run(folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Explained 2 of 5 images")
    assert lines[1:] == [
        f"Not explained: {folder}/loop.png cannot be read (Too many levels of symbolic links). Check its permissions.",
        f"Not explained: The file {folder}/nowhere.png does not exist. Check the path.",
        f"Not explained: {folder}/pipe.png is a pipe or device, not an image file. Save its content to a file first.",
    ]


@pytest.mark.parametrize("target", ["self", "nothing"])
def test_a_broken_link_as_a_path_does_not_end_the_run(
    target: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png"])
    (folder / "self").symlink_to(target)
    assert run(folder / "self", folder) == 1
    assert capsys.readouterr().out.startswith("Explained 1 of 2 images")


def test_an_output_that_links_to_itself_is_a_usage_error(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    folder = save_pictures(tmp_path / "in", ["a.png"])
    assert main(["explain", str(folder), "--model", str(model_file), "--output", str(tmp_path / "loop")]) == 2
    assert "is not a folder. Choose another --output" in capsys.readouterr().err


def locked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make folders of this name unreadable, even for root."""
    scandir = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)


def test_an_unreadable_folder_is_one_failure(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "locked/b.png", "open/c.png"])
    locked(monkeypatch, "locked")
    assert run(folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Explained 2 of 3 images")
    assert lines[1:] == [f"Not explained: {folder}/locked cannot be read (Permission denied). Check its permissions."]
    assert run(folder / "locked", folder / "open") == 1
    assert capsys.readouterr().out.startswith("Explained 1 of 2 images")
    with pytest.raises(ImageError, match=r"locked cannot be read \(Permission denied\)"):
        find_images(folder / "locked")


def test_an_inaccessible_file_is_one_failure(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png", "b.png"])
    stat = Path.stat

    def denied(self: Path, **options: bool) -> os.stat_result:
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    assert run(folder) == 1
    reason = f"{folder}/b.png cannot be read (Permission denied). Check its permissions."
    assert capsys.readouterr().out.splitlines()[1:] == [f"Not explained: {reason}"]


# --- signals -------------------------------------------------------------------------


# Under nohup, the tests' own process ignores SIGHUP, and a child inherits that.
_WITH_DEFAULT_SIGNALS = """
import runpy, signal
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
runpy.run_module("tfviz", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_finished_maps_and_writes_the_page(stop: signal.Signals, model_file: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "in", [f"{number:03}.png" for number in range(400)])
    words = ["explain", folder, "--model", model_file, "--output", tmp_path / "out"]
    words += ["--method", "grad_cam,smooth_grad", "--batch-size", "4"]
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_DEFAULT_SIGNALS, *words, "--preprocess", "none"],
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
    assert process.returncode == 128 + stop
    assert all(line.startswith(("Skipped ", "Note: ")) for line in err.splitlines()), err
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


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# --- streams -------------------------------------------------------------------------

STREAMS = {
    "stderr closed": "2>&-",
    "both closed": ">&- 2>&-",
    "stdout full": ">/dev/full",
    "both full": ">/dev/full 2>/dev/full",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", STREAMS)
def test_a_broken_stream_does_not_end_the_run(name: str, model_file: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png"])
    (folder / "b.png").write_text("not an image")  # This makes the command print to both streams.
    words = f"explain {folder} --model {model_file} --output {tmp_path}/out --method saliency"
    done = subprocess.run(f"{sys.executable} -m tfviz {words} {STREAMS[name]}", shell=True, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "a/saliency.png" in (tmp_path / "out/index.html").read_text("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["explain --help", "methods", "--version"])
def test_a_full_stdout_does_not_change_the_exit_code(words: str) -> None:
    done = subprocess.run(f"{sys.executable} -m tfviz {words} >/dev/full", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- printed text -------------------------------------------------------------------------------

EVIL = "\x1b[2J\x9b31m\u202e\x07"
PLAIN = r"\x1b[2J\x9b31m\u202e\x07"


def test_printed_lines_contain_no_control_characters(capsys: pytest.CaptureFixture) -> None:
    print_line(f"first {EVIL}\nsecond")
    assert capsys.readouterr().out == f"first {PLAIN}\nsecond\n"
    assert str(TfvizError(EVIL)) == PLAIN
    with pytest.warns(UserWarning) as caught:
        warn(EVIL)
    assert str(caught[0].message) == PLAIN
    assert main(["explain", f"--{EVIL}"]) == 2
    assert EVIL[0] not in capsys.readouterr().err


def test_file_and_class_names_are_escaped(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = save_pictures(tmp_path / "in", [f"a{EVIL}\n.png"])
    (folder / f"b{EVIL}\n.png").write_text("not an image")
    (tmp_path / "labels.json").write_text(
        f'["{EVIL}", "b", "c", "d"]'.encode("unicode_escape").decode().replace("\\x", "\\u00")
    )
    assert run(folder, "--labels", tmp_path / "labels.json", "--target", "0,b") == 1
    output = capsys.readouterr()
    assert all(line.isprintable() for line in (output.out + output.err).splitlines())
    assert f"{PLAIN}\\n.png" in output.out


def test_each_warning_becomes_one_note() -> None:
    lines: list[str] = []
    with warnings_as_notes(lines.append):
        for _ in range(3):
            warn("No preprocessing is known\nfor this model.")
        warn("Another.")
    assert lines == ["Note: No preprocessing is known for this model.", "Note: Another."]
    stream = io.StringIO()
    with Progress(1, stream), warnings.catch_warnings():
        warn("Inside.")
    assert stream.getvalue() == "Note: Inside.\n"
    with pytest.warns(UserWarning, match="Outside"):
        warn("Outside.")


def test_other_warnings_are_unchanged() -> None:
    lines: list[str] = []
    with pytest.warns(DeprecationWarning, match="old"), warnings_as_notes(lines.append):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert not lines
