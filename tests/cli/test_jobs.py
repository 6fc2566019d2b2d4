"""The folders for results, and the progress bar."""

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


def test_every_image_has_its_own_folder(tmp_path):
    save_pictures(tmp_path, ["a.bmp", "a.jpg", "a.png", "a.jpg.png", "A.tiff"])
    found = folders([tmp_path])
    assert len({folder.casefold() for folder in found}) == 5
    assert {"a.jpg", "a.jpg.png"} < set(found)


def test_a_folder_never_has_the_name_of_a_result_file(tmp_path):
    save_pictures(tmp_path, ["grad_cam.png.jpg", "index.html.png", "x.npy.png"])
    assert folders([tmp_path]) == ["grad_cam.png.jpg", "index.html.png", "x.npy.png"]


def test_files_with_the_same_name_get_distinct_folders_and_names(tmp_path):
    save_pictures(tmp_path, ["one/cat.png", "two/cat.png"])
    jobs = find_jobs([str(tmp_path / "one/cat.png"), str(tmp_path / "two/cat.png")], Path("out"))
    assert [job.folder.as_posix() for job in jobs] == ["cat", "cat-2"]
    assert [job.name for job in jobs] == ["cat.png", str(tmp_path / "two/cat.png")]


def test_earlier_results_are_not_explained_unless_given_as_a_path(tmp_path):
    save_pictures(tmp_path, ["a.png", "out/a/image.png"])
    assert folders([tmp_path], tmp_path / "out") == ["a"]
    assert folders([tmp_path / "out/a/image.png"], tmp_path / "out") == ["image"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match="All of the images are in the output folder"):
        folders([tmp_path], tmp_path / "out")


def test_checking_the_output_creates_nothing(tmp_path):
    require_writable(tmp_path / "deep/er")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        require_writable(tmp_path / "file/below")


def test_a_read_only_folder_is_an_error(tmp_path, monkeypatch):
    # Root may write to any folder.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match=r"cannot be written to: .* is read-only"):
        require_writable(tmp_path / "out")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(written: str) -> list[str]:
    """Return the visible lines, with carriage returns applied."""
    lines = []
    for line in written.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def test_lines_appear_above_the_bar():
    terminal = Terminal()
    with Progress(23, terminal) as progress:
        progress.show(0, "loading a very long name")
        progress.show(11.5, "cat.jpg")
        assert screen(terminal.getvalue()) == ["[############............] 11/23 cat.jpg"]
        progress.say("Skipped: x")
        progress.show(23, "dog.jpg")
    assert screen(terminal.getvalue()) == ["Skipped: x", ""]


def test_a_file_gets_the_lines_without_the_bar():
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
