"""Where results go, and the progress bar."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support.cli_material import save_pictures

from tfviz.cli.jobs import find_jobs, require_writable
from tfviz.cli.terminal import Progress
from tfviz.errors import ImageError, OutputError


def folders(paths, output="elsewhere") -> list[str]:
    return [job.folder.as_posix() for job in find_jobs([str(path) for path in paths], Path(output))]


def test_two_pictures_never_share_a_folder(tmp_path):
    save_pictures(tmp_path, ["a.bmp", "a.jpg", "a.png", "a.jpg.png", "A.tiff"])
    found = folders([tmp_path])
    assert len({folder.casefold() for folder in found}) == 5
    assert {"a.jpg", "a.jpg.png"} < set(found)


def test_a_folder_is_never_called_like_a_file_beside_it(tmp_path):
    save_pictures(tmp_path, ["grad_cam.png.jpg", "index.html.png", "x.npy.png"])
    assert folders([tmp_path]) == ["grad_cam.png.jpg", "index.html.png", "x.npy.png"]


def test_files_of_one_name_keep_apart_and_are_called_by_their_paths(tmp_path):
    save_pictures(tmp_path, ["one/cat.png", "two/cat.png"])
    jobs = find_jobs([str(tmp_path / "one/cat.png"), str(tmp_path / "two/cat.png")], Path("out"))
    assert [job.folder.as_posix() for job in jobs] == ["cat", "cat-2"]
    assert [job.name for job in jobs] == ["cat.png", str(tmp_path / "two/cat.png")]


def test_results_are_no_pictures_unless_named(tmp_path):
    save_pictures(tmp_path, ["a.png", "out/a/image.png"])
    assert folders([tmp_path], tmp_path / "out") == ["a"]
    assert folders([tmp_path / "out/a/image.png"], tmp_path / "out") == ["image"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match="no images but those in the output folder"):
        folders([tmp_path], tmp_path / "out")


def test_looking_whether_the_output_can_be_written_makes_nothing(tmp_path):
    require_writable(tmp_path / "deep/er")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        require_writable(tmp_path / "file/below")


def test_a_read_only_folder_is_refused_at_once(tmp_path, monkeypatch):
    # the user who runs the tests may be allowed everything
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match=r"cannot be written: .* is read-only"):
        require_writable(tmp_path / "out")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(written: str) -> list[str]:
    """The lines that one would see, the way back to the line's start heeded."""
    lines = []
    for line in written.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def test_a_terminal_shows_a_bar_and_lines_above_it():
    terminal = Terminal()
    with Progress(23, terminal) as progress:
        progress.show(0, "loading a very long name")
        progress.show(11.5, "cat.jpg")
        assert screen(terminal.getvalue()) == ["[############............] 11/23 cat.jpg"]
        progress.say("Skipped: x")
        progress.show(23, "dog.jpg")
    assert screen(terminal.getvalue()) == ["Skipped: x", ""]


def test_elsewhere_only_what_is_said_is_written():
    stream = io.StringIO()
    with Progress(2, stream) as progress:
        progress.show(1, "cat.jpg")
        progress.say("Note: y")
    assert stream.getvalue() == "Note: y\n"


def test_the_bar_stays_on_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    terminal = Terminal()
    Progress(2, terminal).show(1, "x" * 200)
    assert len(terminal.getvalue().strip("\r")) == 49
