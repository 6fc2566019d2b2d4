"""Help, version and wrong words: answered at once, without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import tfviz
from tfviz.cli.main import main
from tfviz.cli.terminal import held_back

OPTIONS = ("model", "weights", "preprocess", "method", "layer", "target", "labels", "output", "batch-size", "image-size", "raw")


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--version"], ["explain", "--help"], ["layers", "-h"], ["explain"]])
def test_answers_without_tensorflow(argv):
    code = (
        "import sys; from tfviz.cli.main import main; main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tfviz", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"tfviz {tfviz.__version__}\n"


def test_help_names_every_option_of_explain(capsys):
    assert main(["explain", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{option} " in text for option in OPTIONS)
    assert "exit code: 0 all images explained" in text and "default: tfviz-output" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "required: COMMAND"),
        ("explian photos", "invalid choice: 'explian'"),
        ("explain", "required: PATH"),
        ("explain photos --metod all", "unknown arguments: --metod all"),
        ("explain photos --meth all", "unknown arguments: --meth all"),
        ("layers photos", "unknown arguments: photos"),
        ("explain photos --batch-size 0", "--batch-size: expected a whole number, 1 at least, got '0'"),
        ("explain photos --batch-size many", "--batch-size: expected a whole number"),
        ("explain photos --image-size 224", "--image-size: expected height x width in pixels, such as 224x224"),
        ("explain photos --image-size 0x3", "--image-size: expected height x width"),
        ("explain photos --method ,", "--method: expected names with commas between them"),
        ("explain photos --target", "--target: expected one argument"),
    ],
)
def test_wrong_words(capsys, words, message):
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err.splitlines()[-1]


def test_what_libraries_print_about_the_machine_is_held_back(capfd):
    with held_back():
        os.write(2, b"I0000 oneDNN custom operations are on.\n")
    os.write(2, b"mine\n")
    assert capfd.readouterr().err == "mine\n"


def test_what_was_held_back_is_shown_where_it_may_say_why_something_failed(capfd):
    with pytest.raises(ImportError), held_back():
        os.write(2, b"libcudart is broken\n")
        raise ImportError
    assert capfd.readouterr().err == "libcudart is broken\n"
